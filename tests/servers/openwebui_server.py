"""The real Open WebUI with its own page, started by tests/servers/openwebui/run_openwebui.sh.

It must be installed (`make test-servers`); tests skip loudly where it is not. Each one runs on a port and on data of
its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from servers.found import missing
from servers.traefik import free_port

VERSION = "0.12.4"
ADMIN = ("admin@example.com", "password-of-the-admin")
ROOT = Path(os.environ.get("SKPAY_OPENWEBUI_ROOT", "/var/tmp/skpayments-openwebui"))  # noqa: S108  # made by `make test-servers`
_SCRIPT = Path(__file__).parent / "openwebui" / "run_openwebui.sh"


@dataclass(frozen=True, slots=True)
class OpenWebUI:
    """A running Open WebUI at `url`, past the gate; `admin_token` is its administrator's."""

    url: str
    admin_token: str
    session: aiohttp.ClientSession

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to a call of the administrator's; fails unless it is 200."""
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        async with self.session.request(method, self.url + path, json=body, headers=headers) as answer:
            assert answer.status == 200, f"{method} {path}: {answer.status}: {(await answer.text())[:500]}"
            return await answer.json()

    async def user(self, email: str) -> dict[str, Any]:
        """The account with this e-mail address."""
        listed = await self.admin("GET", "/api/v1/users/all")
        (found,) = [each for each in listed["users"] if each["email"] == email]
        return dict(found)

    async def set_role(self, email: str, role: str) -> None:
        """`pending`, `user` or `admin`, as an administrator does it."""
        user = await self.user(email)
        fields = {"name": user["name"], "email": email, "profile_image_url": "/user.png", "role": role}
        await self.admin("POST", f"/api/v1/users/{user['id']}/update", fields)


@contextlib.asynccontextmanager
async def open_webui(*, litellm_url: str, litellm_key: str, secret: str) -> AsyncIterator[OpenWebUI]:
    """Open WebUI with LiteLLM as its one connection and `secret` as WEBUI_SECRET_KEY; 10 to 20 s to start."""
    if not (ROOT / f".installed-{VERSION}").exists():
        missing(f"Open WebUI {VERSION} is not installed in {ROOT}; to get it: make test-servers")
    url = f"http://127.0.0.1:{(port := free_port())}"
    with tempfile.TemporaryDirectory(prefix="skpay-openwebui-") as run:
        env = {
            "ROOT": str(ROOT), "RUN": f"{run}/run", "PORT": str(port), "OPENWEBUI_VERSION": VERSION, "SECRET": secret,
            "LITELLM_URL": f"{litellm_url}/v1", "LITELLM_KEY": litellm_key, "HOME": run, "PATH": os.defpath,
        }  # fmt: skip
        try:
            await _run("start", env)
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
                email, password = ADMIN
                credentials = {"email": email, "password": password}
                async with session.post(f"{url}/api/v1/auths/signin", json=credentials) as answer:
                    token = (await answer.json())["token"]
                session.cookie_jar.clear()
                yield OpenWebUI(url, token, session)
        finally:
            await _run("stop", env)


async def _run(command: str, env: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        str(_SCRIPT), command, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 0, f"run_openwebui.sh {command}: {output.decode(errors='replace')[-2000:]}"
