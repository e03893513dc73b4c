"""Run the pipeline and show its progress: python -m alignet.pipeline.repro [arguments of dvc repro]

`dvc repro` runs as a child process in a session of its own, so that Ctrl-C reaches this process only. This process then
ends the stage, its Jupyter kernel and everything that they have started.
"""

import json
import math
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import reduce
from pathlib import Path

import filelock
import psutil
import yaml

from alignet.pipeline import kernels, preflight

NO_SCM = "[core]\n    no_scm = true\n"  # .dvc/config.local where there is no .git
DVC = re.compile(  # the end of a line from dvc: a stage may have written something without a newline before it
    rb"(?:Running stage '(?P<run>.+)':"
    rb"|Stage '(?P<unchanged>.+)' didn't change, skipping"
    rb"|Stage '(?P<restored>.+)' is cached - skipping run, checking out outputs"
    rb"|(?P<saved>(?:Generat|Updat)ing lock file '.+')"
    rb"|(?P<current>Data and pipelines are up to date\.)"
    rb"|(?P<advice>Use `dvc push` to send your updates to remote storage\.))\r?$"
)
HEADS = (  # how lines from dvc begin
    b"Running stage '",
    b"Stage '",
    b"Generating lock",
    b"Updating lock",
    b"Data and pipelines",
    b"Use `dvc",
    b"> ",
)
LOCK, KEPT, ONE_RUN = "dvc.lock", ".dvc/tmp/dvc.lock.kept", ".dvc/tmp/repro.lock"
LOOKS = {"source", "cells"}  # stages that only look whether anything has changed: `source` at every run
OUTPUTS = ("data", "reports", "data/world", "reports/tables", "reports/figures", "reports/notebooks")  # of stages
Spans = dict[str, list[float]]  # for each stage its start and, once it has ended, its end, in seconds


def stages(folder: Path) -> int | None:
    """The number of stages that dvc.yaml expands to with params.yaml; None if it cannot be determined."""

    def read(path: Path) -> dict:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}

    def length(values: list | dict | str) -> int:
        if isinstance(values, str):  # ${run.students}
            values = reduce(lambda section, key: section[key], values.strip("${}").split("."), params)
        return len(values)

    def copies(stage: dict) -> int:
        return math.prod(map(length, stage.get("matrix", {}).values())) * length(stage.get("foreach", [None]))

    try:
        pipeline, params = (read(folder / name) for name in ("dvc.yaml", "params.yaml"))
        return sum(copies(stage) for stage in pipeline["stages"].values())
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return None


def written(child: subprocess.Popen) -> Iterator[tuple[str, bytes]]:
    """The output of a child and of its own processes until the child ends: ('out' | 'err', bytes) as soon as it
    arrives.
    """
    assert child.stderr is not None and child.stdout is not None  # `dvc_repro` opens them as pipes
    with selectors.DefaultSelector() as selector:
        selector.register(child.stderr, selectors.EVENT_READ, "err")
        selector.register(child.stdout, selectors.EVENT_READ, "out")
        while selector.get_map():
            ready = sorted((key for key, _ in selector.select(timeout=1)), key=lambda key: key.data)
            if not ready and child.poll() is not None:
                return  # a process that a stage has left behind holds the pipes
            for key in ready:
                if chunk := os.read(key.fd, 1 << 16):
                    yield key.data, chunk
                else:
                    selector.unregister(key.fileobj)


def events(pieces: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Turn the lines in 'out' that dvc itself has written into events, and pass everything else on.

    Yields: ('run' | 'unchanged' | 'restored', name of a stage), ('saved' | 'current' | 'advice', dvc's words), and
        ('out' | 'err', bytes) for everything else. The command that dvc repeats below 'Running stage' is left out.
    """
    held, last = b"", ""  # the start of an unfinished line; the kind of dvc's last line
    for stream, piece in pieces:
        if stream == "err":
            yield stream, piece
            continue
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            command = last == "run" and line.startswith(b"> ")
            words = DVC.search(line)
            last = (words.lastgroup or "") if words else ""
            if words and words.start():
                yield "out", line[: words.start()]
            if words:
                yield last, words[last]
            elif not command:
                yield "out", line + b"\n"
        if held and not any(held.startswith(head) or head.startswith(held) for head in HEADS):
            yield "out", held
            held = b""
    if held:
        yield "out", held


def with_kernels(told: Iterable[tuple[str, bytes]], server: kernels.Server) -> Iterator[tuple[str, bytes]]:
    """Pass events on; when the first notebook runs, let the server begin to import packages for the stages after it."""
    for kind, content in told:
        if kind == "run":
            if content.decode() not in LOOKS:
                server.start()
            keep_lock(Path.cwd())  # dvc has written it before the next stage runs
        yield kind, content


def follow(told: Iterable[tuple[str, bytes]], total: int | None, spans: Spans) -> Counter[str]:
    """Show events as they arrive: a line for each stage that runs, and before it a line for the stages that need not
    run.

    Args: spans: filled in as stages start and end, so that the caller knows how far they came if a signal ends this.
    Returns: the number of events of each kind.
    """
    counts: Counter[str] = Counter()
    unchanged, at_start = 0, True

    def say(text: str) -> None:
        number = counts["run"] + counts["restored"] + counts["unchanged"]
        print(f"{'' if at_start else chr(10)}[{number:>{len(str(total or 0))}}/{total or '?'}] {text}", flush=True)

    for kind, content in told:
        running = unfinished(spans)
        if kind in ("out", "err"):
            if running or content.strip() or not at_start:  # between stages dvc writes empty lines
                stream = sys.stdout.buffer if kind == "out" else sys.stderr.buffer
                stream.write(content)
                stream.flush()
                at_start = content.endswith(b"\n")
            continue
        if running:
            spans[running].append(time.monotonic())
        if kind in ("run", "restored") and unchanged:
            say(f"{unchanged} unchanged")
            unchanged, at_start = 0, True
        counts[kind] += 1
        if kind in ("run", "restored"):
            name = content.decode()
            say(name if kind == "run" else f"{name}, restored from the cache")
            at_start = True
        if kind == "run":
            spans[name] = [time.monotonic()]
        unchanged += kind == "unchanged"
    print("" if at_start else "\n", end="", flush=True)
    return counts


def unfinished(spans: Spans) -> str | None:
    """The stage that is running, if there is one."""
    return next((name for name, span in spans.items() if len(span) == 1), None)


def nothing_changed(spans: Spans, counts: Counter[str]) -> bool:
    """Whether every stage was up to date, except for those that always run."""
    return bool(counts["current"] or (counts["unchanged"] and not counts["restored"] and LOOKS.issuperset(spans)))


def summary(spans: Spans, counts: Counter[str], seconds: float) -> list[str]:
    """The last lines of a successful run: the time of each stage that ran, and the total."""
    if nothing_changed(spans, counts):
        return [f"everything is up to date ({seconds:.1f} s)"]
    rows = [(name, end - start) for name, (start, end) in spans.items()] + [("total", seconds)]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}} {taken:8.1f} s" for name, taken in rows]
    return lines + ["to read: reports/index.html; tables and figures: reports/"] * Path("reports").is_dir()


def stop(child: subprocess.Popen, server: kernels.Server) -> None:
    """End dvc and everything that it started within two seconds.

    The stage is ended first; dvc then ends by itself and releases its locks. dvc itself is interrupted only if it runs
    no stage, and after a moment, since a signal while it writes a file would leave that file broken.
    """
    roots, sessions, stages_seen = [child.pid], {child.pid}, False
    if server.process is not None:
        roots.append(server.process.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 0.7
        asked: set[psutil.Process] = set()
        while child.poll() is None and time.monotonic() < deadline:
            started = _processes(roots, sessions)
            for process in started - asked:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            asked |= started
            stages_seen |= bool(started)
            time.sleep(0.02)
        if not stages_seen:
            child.send_signal(signal.SIGINT)
    child.kill()
    child.wait()
    for process in _processes(roots, sessions):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _processes(roots: list[int], sessions: set[int]) -> set[psutil.Process]:
    """The processes that dvc and the kernels' server, `roots`, have started.

    A kernel opens a session of its own. Its number is added to `sessions`, so that processes of the kernel are found
    even after the kernel has ended.
    """
    processes = set()
    for root in roots:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(root).children(recursive=True):
                with suppress(OSError):
                    sessions.add(os.getsid(process.pid))
    for pid in set(psutil.pids()) - set(roots):
        with suppress(OSError, psutil.NoSuchProcess):
            if os.getsid(pid) in sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                processes.add(psutil.Process(pid))
    return processes


def without_git(folder: Path) -> None:
    """Tell dvc if there is no git repository; otherwise it would refuse to run without one."""
    local = folder / ".dvc" / "config.local"
    text = local.read_text(encoding="utf-8") if local.exists() else ""
    inside = any((parent / ".git").exists() for parent in (folder, *folder.parents))
    if inside and text == NO_SCM:
        local.unlink()
    elif not inside and local.parent.is_dir() and not text:
        local.write_text(NO_SCM, encoding="utf-8")


def refused(folder: Path) -> Iterator[str]:
    """A line for each folder that stages could not write to.

    dvc would find this out only after a stage has run, when it has already removed the outputs of the previous run.
    """
    for name in (".", ".dvc", *OUTPUTS):
        path = folder / name
        if path.is_symlink():
            advice = "dvc takes no outputs outside the project: clone it to the other disk, or mount that disk here"
            yield f"{name}: is a link to {path.resolve()}; {advice}"
        elif path.exists() and not os.access(path, os.W_OK):
            shown = "this folder" if name == "." else name
            yield f"{shown}: cannot be written to: change its permissions, or its mount"


def whole(lock: Path) -> bool:
    """Whether dvc.lock is complete; it is cut off if dvc was killed while it wrote the file."""
    try:
        content = yaml.load(lock.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stages = content["stages"].values()
        files = [file for stage in stages for part in ("deps", "outs") for file in stage.get(part, [])]
        return "schema" in content and all(stage["cmd"] for stage in stages) and all(file["path"] for file in files)
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError, UnicodeDecodeError):
        return False


def keep_lock(folder: Path) -> None:
    """Copy dvc.lock for `mend_lock` if it is complete."""
    lock, kept = folder / LOCK, folder / KEPT
    if kept.parent.is_dir() and whole(lock):
        part = kept.with_name(f"{kept.name}.part")
        shutil.copyfile(lock, part)
        part.replace(kept)


def mend_lock(folder: Path) -> None:
    """Replace a dvc.lock that a kill has cut off by the last complete one, or remove it.

    Stages that it then lacks run again, or come from dvc's cache.
    """
    lock, kept = folder / LOCK, folder / KEPT
    if lock.is_file() and not whole(lock):
        print(f"{LOCK} was cut off when a run was killed: restored from its last complete copy", flush=True)
        if whole(kept):
            kept.replace(lock)
        else:
            lock.unlink()


def mend_locks(folder: Path) -> None:
    """Remove dvc's table of locks if a signal broke it while it was written, since dvc would refuse to run."""
    table = folder / ".dvc" / "tmp" / "rwlock"
    for wait in (0.2, 0):  # another dvc may just be writing it
        try:
            json.loads(table.read_bytes())
        except FileNotFoundError:
            return
        except ValueError:
            time.sleep(wait)
        else:
            return
    table.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Run the pipeline; return 0, or 1 if a stage or dvc fails, or 130 after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    unwritable = [*refused(Path.cwd())]
    print(*unwritable, sep="\n", end="\n" * bool(unwritable), file=sys.stderr)
    if unwritable or preflight.main([]):
        return 1
    try:
        if not Path(".dvc").is_dir():
            return _run(arguments)  # dvc looks for the project further up, or says that there is none
        Path(ONE_RUN).parent.mkdir(exist_ok=True)
        with filelock.FileLock(ONE_RUN, timeout=0):
            return _run(arguments)
    except filelock.Timeout:
        print("another 'make repro' is running in this folder: wait until it has ended, or stop it", file=sys.stderr)
    except OSError as error:  # of this program's own files, as on a full disk
        print(f"{error}: 'make repro' resumes once that is fixed", file=sys.stderr)
    return 1


def _run(arguments: list[str]) -> int:
    begun = time.monotonic()
    spans: Spans = {}
    try:
        without_git(Path.cwd())
        mend_locks(Path.cwd())
        mend_lock(Path.cwd())
        keep_lock(Path.cwd())
        server = kernels.Server()
        child = dvc_repro(arguments, server)
        try:
            counts = follow(with_kernels(events(written(child)), server), stages(Path.cwd()), spans)
            code = child.wait()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            if child.poll() is None:
                stop(child, server)
                mend_locks(Path.cwd())
            server.close()
    except KeyboardInterrupt:
        place = f" in stage {unfinished(spans)}" if unfinished(spans) else ""
        print(f"\nstopped{place}: 'make repro' resumes from there", file=sys.stderr)
        return 130
    if code:
        place = f"stage {unfinished(spans)} failed" if unfinished(spans) else f"dvc failed ({code})"
        print(f"{place}, as said above: 'make repro' resumes once that is fixed", file=sys.stderr)
        return 1
    print(*summary(spans, counts, time.monotonic() - begun), sep="\n")
    if not (arguments or nothing_changed(spans, counts)) and Path("reports/tables").is_dir():
        from alignet.report import compare  # and pandas with it, which a run without changes does not need

        print(*compare.told(), sep="\n")
    return 0


def dvc_repro(arguments: list[str], server: kernels.Server) -> subprocess.Popen:
    """`dvc repro` in a new session. This Python comes first on its PATH: the stages' commands begin with 'python'."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *arguments],
        env=os.environ | {"PATH": path, kernels.ADDRESS: str(server.address)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
