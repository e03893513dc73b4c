"""Small DVC projects, and `make repro` in them."""

import subprocess
import sys

import yaml

from alignet.config import home

ROOT = home()

STAGES = {
    "a": {"cmd": "echo hello a && echo 1 > a.txt", "outs": ["a.txt"]},
    "b": {
        "matrix": {"n": "${names}"},
        "cmd": r"printf '\r1/2\r2/2' >&2 && echo ${item.n} > b_${item.n}.txt",
        "deps": ["a.txt"],
        "outs": ["b_${item.n}.txt"],
    },
}


def project(folder, stages, git=True):
    """A DVC project with two names in its params.yaml."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_bytes((ROOT / ".dvc" / "config").read_bytes())
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (folder / "params.yaml").write_text("names: [x, y]\n")
    if git:
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def command(folder, *arguments):
    """`make repro` in a project, as a process."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "alignet.pipeline.repro", *arguments], cwd=folder, **pipes)


def run(folder, *arguments):
    process = command(folder, *arguments)
    stdout, stderr = process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()
