"""A finished run, JupyterLab over a clone of the project, and Debian's Chromium: `make test-browser`."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from playwright.sync_api import sync_playwright

from alignet import config

ROOT = config.home()
SCREENS = ROOT / "reports" / "screens"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDED = ("data/world", "data/features", "data/students", "reports/tables")


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """The project as committed and changed, with what a finished run has made, so that nothing here is written to."""
    missing = [name for name in (*NEEDED, "reports/index.html") if not (ROOT / name).exists()]
    if missing:
        pytest.exit(f"{missing[0]}: no such file or folder: run make repro first", 1)
    folder = tmp_path_factory.mktemp("browser") / "alignet"
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for name in NEEDED:
        shutil.copytree(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def lab(clone):
    """JupyterLab on loopback with its token: (address, token)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={clone}", "--LabApp.news_url="]
    environment = os.environ | {"PYTHONPATH": str(clone), "JUPYTER_CONFIG_DIR": str(clone / ".jupyter")}
    log = (clone.parent / "lab.log").open("w")
    server = subprocess.Popen(command, cwd=clone, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api", timeout=2)
                break
            time.sleep(0.5)
        else:
            pytest.exit(f"JupyterLab did not start: {log.name}", 1)
        yield address, token
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.exit("no Chromium: install it (Debian: apt install chromium)", 1)
    with sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def screen():
    """Keeps a picture of a page under reports/screens/, to be looked at."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    return lambda page, name, **more: page.screenshot(path=SCREENS / f"{name}.png", **more)


@pytest.fixture
def opened(page, lab):
    """Opens a notebook in JupyterLab, alone in the window."""
    address, token = lab

    def open_one(name: str):
        page.goto(f"{address}/lab/workspaces/auto-{secrets.token_hex(4)}/tree/notebooks/{name}?token={token}")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=120_000)
        return page

    return open_one
