"""A real browser, headless, driven over the W3C WebDriver protocol by Debian's chromedriver.

with Browser(profile_folder) as browser:
    browser.open("http://chat.localhost:8000/")
    browser.find("button").click()
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from servers.found import require
from servers.traefik import free_port

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP *.localhost 127.0.0.1",
]  # fmt: skip
KEYS = {"tab": "\ue004", "enter": "\ue007", "space": " "}


class Browser:
    """One window. Every wait polls with a deadline; every failure says what was there instead."""

    def __init__(self, folder: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        self._folder, self._size, self._dark = folder, (width, height), dark
        self._session = ""

    def __enter__(self) -> Browser:
        chromium, driver = require("chromium"), require("chromedriver")
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        with (self._folder / "chromedriver.log").open("wb") as log:
            self._process = subprocess.Popen([str(driver), f"--port={port}"], stdout=log, stderr=log)
        try:
            self._start(chromium)
        except BaseException:
            self._end_driver()
            raise
        return self

    def _start(self, chromium: Path) -> None:
        until(lambda: self._is_up(), "chromedriver is up", 20)
        width, height = self._size
        arguments = [*_FLAGS, f"--user-data-dir={self._folder / 'profile'}", f"--window-size={width},{height}"]
        arguments += ["--force-dark-mode"] if self._dark else []
        options = {"binary": str(chromium), "args": arguments}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        # A headless window has no less than 500 px; a phone is narrower.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}]}
        self.devtools("Emulation.setEmulatedMedia", scheme)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", f"/session/{self._session}")
        finally:
            self._end_driver()

    def _end_driver(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def open(self, url: str) -> None:
        self._do("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._do("GET", "/url"))

    def find(self, css: str, text: str = "", seconds: float = 15) -> Element:
        """The first element of this kind whose text holds `text`, once there is one."""

        def look() -> Element | None:
            for raw in self._do("POST", "/elements", {"using": "css selector", "value": css}):
                element = Element(self, raw[_ELEMENT])
                try:
                    if text in element.text:
                        return element
                except StaleError:
                    continue
            return None

        return until(look, f"{css} with the text {text!r}; the page says: {self.text()[:500]!r}", seconds)

    def text(self) -> str:
        return str(self.run("return document.body ? document.body.innerText : ''"))

    def run(self, script: str, *arguments: object) -> Any:
        return self._do("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *names: str) -> None:
        """Keys, one after the other, to whatever has the focus."""
        actions = [step for name in names for step in _strokes(KEYS.get(name, name))]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def tab_to(self, text: str, limit: int = 40) -> None:
        """Press Tab until what has the focus holds `text`."""
        for _ in range(limit):
            self.press("tab")
            if text in str(self.run("return document.activeElement ? document.activeElement.innerText : ''")):
                return
        raise AssertionError(f"Tab does not reach {text!r}; the page says: {self.text()[:500]!r}")

    def complaints(self) -> list[str]:
        """What the console said above a notice since it was last asked."""
        return [
            entry["message"] for entry in self._do("POST", "/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"
        ]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._do("GET", "/screenshot")))

    def reload(self) -> None:
        self._do("POST", "/refresh", {})

    def devtools(self, command: str, parameters: object) -> None:
        self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _is_up(self) -> bool:
        try:
            return bool(self._call("GET", "/status")["ready"])
        except OSError:
            return False

    def _do(self, method: str, path: str, body: object = None) -> Any:
        return self._call(method, f"/session/{self._session}{path}", body)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310  # our own driver
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # our own driver
                return json.load(response)["value"]
        except urllib.error.HTTPError as exc:
            with exc:
                problem = json.load(exc)["value"]
            if problem["error"] in ("stale element reference", "no such element"):
                raise StaleError(problem["message"]) from exc
            raise AssertionError(f"{path}: {problem['error']}: {problem['message'][:500]}") from exc


class StaleError(Exception):
    """The page has moved on under an element."""


@dataclass(frozen=True)
class Element:
    """One element of the page that is open now."""

    browser: Browser
    element_id: str

    @property
    def text(self) -> str:
        return str(self.browser._do("GET", f"/element/{self.element_id}/text"))

    def click(self) -> None:
        self.browser._do("POST", f"/element/{self.element_id}/click", {})

    def type(self, text: str) -> None:
        self.browser._do("POST", f"/element/{self.element_id}/value", {"text": text})


def until(ask: Callable[[], Any], what: str, seconds: float = 15) -> Any:
    """Ask until the answer is true and give it; `AssertionError` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def _strokes(key: str) -> list[dict[str, str]]:
    return [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
