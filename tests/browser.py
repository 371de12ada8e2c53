"""A headless Chromium driven over its own debugging protocol, and a JupyterLab on loopback to open in it."""

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import websocket

ROOT = Path(__file__).parent.parent
MISSING = "no Chromium; on Debian or Ubuntu: apt-get install chromium chromium-driver"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--remote-debugging-port=0", "--window-size=1200,1450"),
)
LAB = (
    *("--no-browser", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1"),
    *(
        "--ServerApp.allow_root=True",
        "--LabApp.extension_manager=readonly",
    ),
    "--LabApp.expose_app_in_browser=True",
)
NOTIFICATIONS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"


class Page:
    """One page of a browser; `evaluate` runs JavaScript in it."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._number = 0

    def command(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and return its result; events are passed over."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression; promises are awaited."""
        answer = self.command(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, what: str, seconds: float = 30.0) -> Any:
        """Wait until an expression is true and return its value."""
        return waited(lambda: self.evaluate(script), what, seconds)

    def click(self, selector: str) -> None:
        """Click with the mouse into the middle of an element."""
        box = f"document.querySelector('{selector}').getBoundingClientRect()"
        x, y = self.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.command(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    def key(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key; `text` is what it types."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        self.command("Input.dispatchKeyEvent", type="keyDown", **named)
        self.command("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path) -> Path:
        data = self.command("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def close(self) -> None:
        self._socket.close()


def waited(ask: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Ask until the answer is true; TimeoutError says what was waited for."""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        if answer := ask():
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"{what} did not come within {seconds} s")


def chromium() -> str:
    """Return the path of the browser; skips the test if there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip(MISSING)
    return found


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a program and, at the end, end it with whatever it has started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            env=os.environ | environment, start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            finally:
                end_group(process.pid)
                process.wait()


def end_group(group: int) -> None:
    """Kill what is left of a process group of ours."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def page_of(folder: Path) -> Iterator[Page]:
    """An empty page of a browser that keeps its files in `folder`."""
    profile = folder / "profile"
    command = [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with running(command, folder / "chromium.log", {"HOME": str(folder)}):
        told = profile / "DevToolsActivePort"
        port = waited(lambda: told.is_file() and told.read_text().split("\n")[0], "the browser")
        with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            (target,) = (t for t in json.load(answer) if t["type"] == "page")
        page = Page(target["webSocketDebuggerUrl"])
        try:
            page.command("Emulation.setFocusEmulationEnabled", enabled=True)
            yield page
        finally:
            page.close()


@contextmanager
def lab(notebooks: Path, folder: Path) -> Iterator[Callable[[str], str]]:
    """A JupyterLab that serves `notebooks`, behind a token; yields a function from a path to its address."""
    token = secrets.token_hex()
    names = ("CONFIG_DIR", "RUNTIME_DIR", "DATA_DIR")
    places = {f"JUPYTER_{name}": str(folder / name.lower()) for name in names}
    environment = {
        **places,
        "JUPYTER_TOKEN": token,
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    settings = folder / "config_dir/lab/user-settings" / NOTIFICATIONS
    settings.parent.mkdir(parents=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [sys.executable, "-m", "jupyterlab", *LAB, f"--ServerApp.root_dir={notebooks}"]
    with running(command, folder / "lab.log", environment):
        runtime = folder / "runtime_dir"
        (file,) = waited(lambda: list(runtime.glob("jpserver-*.json")), "JupyterLab")
        address = waited(lambda: address_in(file), "the address of JupyterLab")
        yield lambda path: f"{address}{path}?reset&token={token}"


def address_in(file: Path) -> str:
    """The address that a server has written down; nothing while it is still writing."""
    try:
        return str(json.loads(file.read_text())["url"])
    except json.JSONDecodeError:
        return ""
