"""`skpay gate serve` as a process, for tests of one beside or without the main process."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
from servers.running import GATE_SECRET
from servers.traefik import free_port, until


async def ask_gate(
    session: aiohttp.ClientSession, port: int, path: str = "/", app: str = "skai", **headers: str
) -> tuple[int, str | None]:
    """Status and tier that the gate at this port answers; 0 while nothing listens."""
    host = {"skai": "chat.example.com", "blog": "blog.example.com"}.get(app, f"{app}.example.com")
    sent = {
        "X-SK-Gate": GATE_SECRET, "X-Forwarded-Host": host, "X-Forwarded-Method": "GET",
        "X-Forwarded-Uri": path, **headers,
    }  # fmt: skip
    try:
        async with session.get(f"http://127.0.0.1:{port}/gate?app={app}", headers=sent) as answer:
            return answer.status, answer.headers.get("X-SK-Tier")
    except aiohttp.ClientError:
        return 0, None


class GateAlone:
    """`skpay gate serve`, without anything of Stripe's in its environment."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.port = free_port()
        self._log = folder / "gate.log"
        self._environ = {name: value for name, value in environ.items() if not name.startswith("STRIPE_")}
        self._environ |= {"GATE_PORT": str(self.port), "PYTHONPATH": str(Path(__file__).parents[2])}
        self._session = aiohttp.ClientSession()
        self.process: asyncio.subprocess.Process

    async def start(self, **environ: str) -> None:
        """Start it, or another one in its place; `environ` is laid over the environment."""
        with self._log.open("ab") as file:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "gate", "serve",
                env=self._environ | environ, stdout=file, stderr=file,
            )  # fmt: skip

    async def ask(self, path: str = "/", app: str = "skai", **headers: str) -> tuple[int, str | None]:
        """Status and tier; 0 while nothing listens."""
        return await ask_gate(self._session, self.port, path, app, **headers)

    async def until(self, expected: tuple[int, str | None], path: str = "/", app: str = "skai", **headers: str) -> None:
        async def is_so() -> bool:
            return await self.ask(path, app, **headers) == expected

        await until(is_so, f"{expected} at {path}; log: {self.log[-1500:]}")

    async def ready(self, secret: str | None = GATE_SECRET) -> tuple[int, Any]:
        """Status and JSON of its /ready."""
        headers = {} if secret is None else {"X-SK-Gate": secret}
        async with self._session.get(f"http://127.0.0.1:{self.port}/ready", headers=headers) as answer:
            return answer.status, await answer.json()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    async def end(self) -> None:
        """Kill it; it can be started again."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        await self._session.close()
        await self.end()
