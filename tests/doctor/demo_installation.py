"""The running demo as doctor's installation: what to break in it from outside, and how the doctor runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from servers.traefik import until

import gateway
from gateway.doctor import Finding, Options, examine
from gateway.files import write_atomically
from gateway.sandbox.demo.sample_app import session_token
from gateway.sandbox.demo.stage import Stage
from gateway.settings import read_settings

CliResult = list[tuple[str, str, str]]
"""(state, subject, message) of all that is not well."""


@dataclass
class Installation:
    """The demo's stage; `changed` overrides its environment when the doctor runs."""

    stage: Stage
    session: aiohttp.ClientSession
    changed: dict[str, str] = field(default_factory=dict)
    apps: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.apps = json.loads((self.stage.folder / "apps.json").read_text())

    @property
    def environ(self) -> dict[str, str]:
        return {**self.stage.environ, **self.changed}

    async def findings(self, **options: Any) -> list[Finding]:
        check_options = Options(
            **{"live": True, "traefik_api": self.stage.dashboard_url.removesuffix("/dashboard/"), **options}
        )
        return await examine(read_settings(self.environ), check_options)

    async def result(self, **options: Any) -> CliResult:
        found = [each for each in await self.findings(**options) if each.state not in ("ok", "not checked")]
        assert all(each.remedy for each in found)
        return [(each.state, each.subject, self.plain(each.message)) for each in found]

    async def until_result(self, expected: CliResult, seconds: float = 8) -> CliResult:
        """The findings once they are as expected, or at the deadline."""
        result: CliResult = []

        async def as_expected() -> bool:
            nonlocal result
            result = await self.result()
            return result == expected

        with contextlib.suppress(AssertionError):
            await until(as_expected, "doctor's word", seconds)
        return result

    async def api(self, method: str, path: str, body: object) -> None:
        """A call of the app's backend, or of the operator."""
        key = self.stage.environ["ADMIN_TOKEN" if path.startswith("/admin") else "DEMO_APP_KEY"]
        url = f"http://127.0.0.1:{self.stage.environ['PORT']}{path}"
        async with self.session.request(method, url, json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
            assert answer.status == 200, await answer.text()

    async def shell(self, *words: str) -> int:
        """The exit code of `skpay` in a shell that has read the demo's environment, and else has nothing set."""
        line = f'. {self.stage.folder}/environment; exec "{sys.executable}" -m gateway {" ".join(words)}'
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", line, env={}, stdout=asyncio.subprocess.DEVNULL, cwd=Path(gateway.__file__).parents[1]
        )
        return await process.wait()

    def plain(self, text: str) -> str:
        """Without the numbers that every run has of its own."""
        ports = {
            "WEB": self.stage.web_port,
            "PORT": self.stage.environ["PORT"],
            "GATE": self.stage.environ["GATE_PORT"],
        }
        ports |= {"APP": self.upstream.rpartition(":")[2]}
        for name, port in ports.items():
            text = text.replace(f":{port}", f":{name}")
        return text.replace(str(self.stage.folder), "DEMO")

    @property
    def upstream(self) -> str:
        return str(self.apps["apps"][0]["upstream"])

    def cookie(self, secret: str | None = None) -> str:
        return session_token(secret or self.stage.environ["DEMO_APP_SECRET"], "ada", int(time.time()))

    @property
    def routes(self) -> Path:
        return self.stage.folder / "traefik/dynamic/skpayments.yml"

    async def stripe(self, method: str, path: str, **form: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.stage.environ['STRIPE_SECRET_KEY']}"}
        url = f"{self.stage.stripe_url}/v1/{path}"
        async with self.session.request(method, url, headers=headers, data=form or None) as answer:
            found = await answer.json()
            assert answer.status == 200, found
            assert isinstance(found, dict)
            return found

    async def litellm(self, path: str, body: Mapping[str, object]) -> Any:
        headers = {"Authorization": f"Bearer {self.stage.litellm_key}"}
        async with self.session.post(f"{self.stage.litellm_url}{path}", headers=headers, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    @contextlib.contextmanager
    def env(self, **changed: str) -> Iterator[None]:
        self.changed = changed
        yield
        self.changed = {}

    @contextlib.contextmanager
    def routed(self, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
        """Traefik's dynamic configuration with this change."""
        text = self.routes.read_text()
        tree = yaml.safe_load(text)
        change(tree)
        write_atomically(self.routes, yaml.safe_dump(tree))
        yield
        write_atomically(self.routes, text)

    @contextlib.contextmanager
    def text(self, path: Path, text: str) -> Iterator[None]:
        """A file with another text, or one that was not there."""
        before = path.read_text() if path.exists() else None
        write_atomically(path, text)
        yield
        path.unlink() if before is None else write_atomically(path, before)

    @contextlib.asynccontextmanager
    async def at_stripe(self, path: str, broken: Mapping[str, str], mended: Mapping[str, str]) -> AsyncIterator[None]:
        await self.stripe("POST", path, **broken)
        yield
        await self.stripe("POST", path, **mended)
