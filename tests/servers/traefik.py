"""The real Traefik on ports of its own, for as long as a test needs it.

async with Traefik(dynamic_dir=folder, env={"GATE_SECRET": "…"}) as traefik:
    await traefik.until_routers("sk-public@file")
    await traefik.until_served("pay.example.com")
    ... requests to traefik.url with a Host header ...
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import yaml
from servers.found import require

T = TypeVar("T")
# The folder with plugins-local in it, for `plugins_dir`, and what loads our plugin from there, for `static`.
PLUGINS_DIR = Path(__file__).resolve().parents[2] / "traefik"
WITH_PLUGIN = {
    "experimental": {
        "abortOnPluginFailure": True,
        "localPlugins": {"skpayments": {"moduleName": "github.com/skpayments/gate"}},
    }
}
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.03
_ATTEMPTS = 3


def free_port() -> int:
    """A port that is free now, below the range that the system gives to outgoing connections of tests beside this one.

    Another process may still take it first, so a caller must retry.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def until(ask: Callable[[], Awaitable[T]], what: str, seconds: float = 20.0) -> T:
    """Ask until the answer is true and give it; `AssertionError` with the last answer at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last answer: {answer!r}"
        await asyncio.sleep(_POLL_SECONDS)


def _merged(default: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(default)
    for key, value in more.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


class Traefik:
    """Entry point `web` at `url`, the API at `api_url`; `static` is merged over a static configuration that works.

    `dynamic_dir`, where given, is watched by the file provider. `env` is all that Traefik sees besides PATH and HOME.
    `plugins_dir` is the folder with plugins-local in it, which Traefik looks for where it is started.
    """

    def __init__(
        self,
        static: Mapping[str, Any] | None = None,
        dynamic_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
        plugins_dir: Path | None = None,
    ) -> None:
        self.program = require("traefik")
        self.static = dict(static or {})
        self.dynamic_dir = dynamic_dir
        self.env = dict(env or {})
        self.plugins_dir = plugins_dir
        self.url = self.api_url = ""
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def __aenter__(self) -> Traefik:
        self._folder = tempfile.TemporaryDirectory(prefix="skpay-traefik-")
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        try:
            for attempt in range(_ATTEMPTS):
                if await self._started():
                    return self
                await self.stop()
                assert attempt + 1 < _ATTEMPTS, f"traefik does not start:\n{self.log()}"
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What it has logged so far."""
        path = self._path("traefik.log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    async def api(self, path: str) -> Any:
        """The answer of its API, such as `/api/overview` or `/api/http/routers`."""
        assert self._session is not None
        async with self._session.get(self.api_url + path) as answer:
            assert answer.status == 200, f"{path}: {answer.status}"
            return await answer.json()

    async def routers(self) -> dict[str, dict[str, Any]]:
        """Every HTTP router but Traefik's own, by its full name (`sk-app-blog@file`)."""
        listed = await self.api("/api/http/routers?per_page=100000")
        return {router["name"]: router for router in listed if router["provider"] != "internal"}

    async def errors(self) -> int:
        """The number of HTTP routers, services and middlewares with an error."""
        overview = await self.api("/api/overview")
        return sum(int(overview["http"][kind]["errors"]) for kind in ("routers", "services", "middlewares"))

    async def until_routers(self, *names: str) -> dict[str, dict[str, Any]]:
        """Wait until its API lists all these routers, in any state; returns all its routers.

        Before a request to an entry point, wait for `until_served` too.
        """

        async def there() -> dict[str, dict[str, Any]]:
            routers = await self.routers()
            return routers if set(names) <= set(routers) else {}

        return await until(there, f"routers {names}, log:\n{self.log()[-2000:]}")

    async def until_served(self, host: str, url: str = "") -> None:
        """Wait until the entry point at `url`, which is `web` by default, routes this host.

        Traefik replaces the routers of its entry points one after the other, so its API, on the entry point
        `traefik`, may list a router a moment before `web` has it, or while `web` still has an older one.
        """

        async def served() -> bool:
            assert self._session is not None
            request = self._session.get(f"{url or self.url}/health", headers={"Host": host}, allow_redirects=False)
            async with request as response:
                return response.status != 404

        await until(served, f"{host} on the entry point {url or 'web'}, log:\n{self.log()[-2000:]}")

    async def stop(self) -> None:
        """End the process, by its own id. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _started(self) -> bool:
        """Whether it came up; False if it ended by itself, as when another took one of its ports."""
        web, api = free_port(), free_port()
        self.url, self.api_url = f"http://127.0.0.1:{web}", f"http://127.0.0.1:{api}"
        default: dict[str, Any] = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "INFO", "noColor": True},
            "api": {"insecure": True},
            "ping": {"entryPoint": "traefik"},
            "entryPoints": {"web": {"address": f"127.0.0.1:{web}"}, "traefik": {"address": f"127.0.0.1:{api}"}},
            # By default a second change waits two seconds, which only makes tests slow.
            "providers": {"providersThrottleDuration": "50ms"},
        }
        if self.dynamic_dir is not None:
            default["providers"]["file"] = {"directory": str(self.dynamic_dir), "watch": True}
        self._path("traefik.yml").write_text(yaml.safe_dump(_merged(default, self.static)), encoding="utf-8")
        with self._path("traefik.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self.program), f"--configFile={self._path('traefik.yml')}",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.plugins_dir,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._path("")), **self.env},
            )  # fmt: skip
        process = self._process

        async def up_or_over() -> str:
            return "over" if process.returncode is not None else "up" if await self._ping() else ""

        return await until(up_or_over, "traefik up", _START_SECONDS) == "up"

    async def _ping(self) -> bool:
        assert self._session is not None
        try:
            async with self._session.get(self.api_url + "/ping") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def _close(self) -> None:
        await self.stop()
        if self._session is not None:
            await self._session.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / name
