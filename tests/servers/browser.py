"""A real Chromium, driven over W3C WebDriver by the chromedriver that comes with it.

async with Browser() as browser:
    await browser.go("http://chat.localhost:8000/")
    await browser.press(TAB, ENTER)
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from servers.found import require
from servers.traefik import free_port, until

TAB, ENTER = "\ue004", "\ue007"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=en-US",
    "--host-resolver-rules=MAP *.localhost 127.0.0.1",
)  # fmt: skip


class Browser:
    """One window with an empty profile, as wide as a desktop's unless `viewport` says otherwise."""

    def __init__(self) -> None:
        self._chromium = require("chromium")
        driver = shutil.which("chromedriver", path=f"{self._chromium.parent}:/usr/bin:/usr/lib/chromium")
        assert driver is not None, "chromedriver not found; to get it: apt-get install chromium-driver"
        self._driver = driver
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None
        self._profile = tempfile.TemporaryDirectory(prefix="skpay-browser-", ignore_cleanup_errors=True)
        self._url = self._session = ""

    async def __aenter__(self) -> Browser:
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._driver, f"--port={port}", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            await until(self._up, "chromedriver up")
            options = {"binary": str(self._chromium), "args": [*_FLAGS, f"--user-data-dir={self._profile.name}"]}
            capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = await self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def go(self, url: str) -> None:
        """Open a page and wait until it has loaded."""
        await self._post("/url", {"url": url})

    async def reload(self) -> None:
        await self._post("/refresh", {})

    async def url(self) -> str:
        """What the address bar shows."""
        return str(await self._ask("GET", f"{self._session}/url"))

    async def run(self, script: str, *words: Any) -> Any:
        """The value of a script's `return`."""
        return await self._post("/execute/sync", {"script": script, "args": list(words)})

    async def text(self) -> str:
        """What a person can read on the page."""
        return str(await self.run("return document.body.innerText"))

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        await self._post("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]})

    async def focused(self) -> str:
        """The accessible name of what has the focus."""
        element = await self._ask("GET", f"{self._session}/element/active")
        return await self._name(element)

    async def names(self, selector: str) -> list[str]:
        """The accessible name of each visible element of a CSS selector."""
        found = await self._post("/elements", {"using": "css selector", "value": selector})
        shown = [each for each in found if await self._ask("GET", self._element(each, "displayed"))]
        return [await self._name(each) for each in shown]

    async def tab_to(self, name: str, most: int = 30) -> None:
        """Press Tab until what has this accessible name has the focus; fails after `most` presses."""
        requests = []
        for _ in range(most):
            await self.press(TAB)
            requests.append(await self.focused())
            if requests[-1] == name:
                return
        raise AssertionError(f"Tab never reached {name!r}, but {requests}")

    async def until_text(self, part: str, seconds: float = 20) -> str:
        """Wait until a person can read `part`; the whole text."""
        deadline = time.monotonic() + seconds
        while part not in (text := await self.text()):
            assert time.monotonic() < deadline, f"{part!r} not seen at {await self.url()}: {text[:1000]}"
            await asyncio.sleep(0.05)
        return text

    async def viewport(self, width: int, height: int, *, mobile: bool = False, dark: bool = False) -> None:
        """The size of the page's own area, and the person's colours."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        await self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    async def errors(self) -> list[str]:
        """The errors in the console since the last call."""
        lines = await self._post("/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    async def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = await self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def _devtools(self, command: str, params: Mapping[str, Any]) -> Any:
        return await self._post("/goog/cdp/execute", {"cmd": command, "params": params})

    async def _name(self, element: Mapping[str, str]) -> str:
        return str(await self._ask("GET", self._element(element, "computedlabel")))

    def _element(self, element: Mapping[str, str], what: str) -> str:
        return f"{self._session}/element/{element[_ELEMENT]}/{what}"

    async def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._ask("POST", self._session + path, body)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        assert self._http is not None
        async with self._http.request(method, self._url + path, json=body) as answer:
            value = (await answer.json())["value"]
            assert answer.status == 200, f"{path}: {value.get('error')}: {value.get('message')}"
            return value

    async def _up(self) -> bool:
        try:
            return bool((await self._ask("GET", "/status"))["ready"])
        except aiohttp.ClientConnectionError:
            return False

    async def _close(self) -> None:
        if self._session:
            await self._ask("DELETE", self._session)
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        if self._http is not None:
            await self._http.close()
        self._profile.cleanup()
