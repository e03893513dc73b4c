"""Kernels that start with the packages of every stage already imported: python -m alignet.pipeline.kernels SOCKET

Importing torch, timm, pandas and matplotlib takes longer than many stages. On Linux `pipeline.repro` therefore keeps a
server, a process that has imported them and forks the stages' kernels from itself. `pipeline.notebook` asks the server
at the address in ALIGNET_KERNELS for a kernel, and starts one in the usual way if nothing answers. Nothing of this
project is imported beforehand, so a change to its code takes effect from the next stage on.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread

import psutil

ADDRESS = "ALIGNET_KERNELS"  # environment variable: the path of the server's socket
LAUNCHER = ["-m", "ipykernel_launcher"]
PACKAGES = ["ipykernel.kernelapp", "matplotlib.pyplot", "pandas", "seaborn", "timm", "sklearn.linear_model"]
PACKAGES += ["rsatoolbox", "umap"]
# With these variables, which glibc reads when a process starts, a kernel reuses freed memory rather than return it to
# the system: a fifth of the time of large operations went into getting it anew. A value that the user has set is kept.
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 31), "MALLOC_TOP_PAD_": str(1 << 26)}


_asked_for: list["Forked"] = []  # the kernels that this process has asked for


class Server:
    """The process that forks kernels for a program that runs many stages. It ends whenever that program ends."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="alignet-")  # private, and so is the socket in it
        self.address = Path(self.folder.name) / "kernels"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Begin to import the packages, on Linux only and only once; until the imports end, kernels start in the usual
        way.
        """
        if sys.platform == "linux" and self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "alignet.pipeline.kernels", str(self.address)],
                env=MEMORY | os.environ,
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """End the process, if it was started, and remove its folder."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdin is not None  # `start` opens it as a pipe
            self.process.stdin.close()
        self.folder.cleanup()


@contextmanager
def served() -> Iterator[None]:
    """A server for the notebooks that this process and its children run inside the `with` block."""
    server = Server()
    server.start()
    os.environ[ADDRESS] = str(server.address)
    try:
        yield
    finally:
        del os.environ[ADDRESS]
        server.close()


class Forked(psutil.Process):
    """A kernel that a server has forked, with the methods of subprocess.Popen that jupyter_client uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, connection: socket.socket) -> None:
        super().__init__(pid)
        self.connection = connection  # the kernel ends when this closes, as when this process is killed

    def poll(self) -> int | None:
        return None if self.is_running() else 0

    def send_signal(self, sig: int) -> None:
        """Signal the kernel; nothing happens if it has just ended by itself, as with a Popen."""
        with suppress(psutil.NoSuchProcess):
            super().send_signal(sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def forked(command: list[str], environment: Mapping[str, str], folder: str) -> Forked | None:
    """A kernel from the server at ALIGNET_KERNELS; None if there is no server, or if `command` starts another Python.

    Args: command: that of a kernel spec, [python, '-m', 'ipykernel_launcher', ...]; folder: where the kernel works.
    """
    address = environment.get(ADDRESS)
    if not address or command[:3] != [sys.executable, *LAUNCHER]:
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        socket.send_fds(connection, [b"\n"], [1, 2])  # the kernel writes to this process's stdout and stderr
        connection.sendall(json.dumps([command[3:], dict(environment), folder]).encode() + b"\n")
        _asked_for.append(Forked(int(connection.recv(16)), connection))
        return _asked_for[-1]
    except (OSError, ValueError, psutil.NoSuchProcess):  # the server is not there yet, or has ended (an empty answer)
        connection.close()
        return None


def started() -> list[psutil.Process]:
    """All processes that this one has started, the kernels that were forked for it, and all that these have started."""
    processes: list[psutil.Process] = []
    for process in (psutil.Process(), *_asked_for):
        with suppress(psutil.NoSuchProcess):
            processes += process.children(recursive=True)
    return processes + _asked_for


def serve(address: str) -> None:
    """Import the packages, then fork a kernel for each request until stdin closes. The function also returns in each
    kernel.
    """
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # read on import, in a kernel too
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # a kernel reads it and ends when its parent does
    for package in PACKAGES:
        import_module(package)
    sys.modules["pandas"].set_option("display.max_columns", 20)  # pandas' default in a notebook
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the kernels
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
                return
            connection, _ = listener.accept()
            _, streams, *_ = socket.recv_fds(connection, 1, 2)
            with connection.makefile("rb") as line:
                request = json.loads(line.readline())
            if os.fork() == 0:
                listener.close()
                return _become_kernel(connection, streams, *request)
            for descriptor in (connection.detach(), *streams):
                os.close(descriptor)


def _become_kernel(
    connection: socket.socket, streams: list[int], arguments: list[str], environment: dict[str, str], folder: str
) -> None:
    """Turn this forked process into the kernel of a request, and return when that kernel ends."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    Thread(target=_end_with, args=[connection], daemon=True).start()
    connection.sendall(str(os.getpid()).encode())
    sys.argv = [LAUNCHER[1], *arguments]
    runpy.run_module(LAUNCHER[1], run_name="__main__", alter_sys=True)


def _end_with(connection: socket.socket) -> None:
    """Kill this process and all that it has started as soon as the process that asked for it is gone."""
    with suppress(OSError):
        connection.recv(1)
    for process in started():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1])
