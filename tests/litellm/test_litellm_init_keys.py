"""The script that `skpay init` writes beside LiteLLM's configuration: it makes two keys, and is idempotent."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from litellm_harness import MASTER_KEY, Serve
from servers.litellm_server import RealLiteLLM

from gateway.cli import shipped
from gateway.litellm import LiteLLM
from gateway.settings import Secret

SCRIPT = shipped.PACKAGE / "cli/init_files/litellm_keys.py.txt"


async def run(tmp_path: Path, url: str, master_key: str, keys: tuple[str, str]) -> tuple[int | None, str]:
    """As in LiteLLM's container: with its environment and nothing but Python's own library."""
    (tmp_path / "keys.py").write_bytes(SCRIPT.read_bytes())
    narrow, shared = keys
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", tmp_path / "keys.py", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={
            "PORT": url.rpartition(":")[2], "LITELLM_MASTER_KEY": master_key, "SKPAYMENTS_KEY": narrow,
            "LITELLM_SHARED_KEY": shared,
        },
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def makes_two_keys(tmp_path: Path, session: aiohttp.ClientSession, url: str, master_key: str) -> None:
    narrow, shared = keys = (f"sk-{secrets.token_urlsafe(32)}", f"sk-{secrets.token_urlsafe(32)}")
    made = await run(tmp_path, url, master_key, keys)
    assert made == (0, "the key skpayments was made\nthe key shared was made\n")
    assert await run(tmp_path, url, master_key, keys) == (0, made[1].replace("was made", "is there"))
    assert await LiteLLM(session, url, (Secret(narrow),)).denied_routes() == ()

    async def ask(key: str, path: str, body: dict[str, Any]) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(url + path, json=body, headers=headers) as answer:
            return answer.status

    assert await ask(narrow, "/key/generate", {}) in (401, 403)
    assert await ask(shared, "/v1/chat/completions", {"model": "gpt-small", "messages": [], "user": "u1"}) == 200
    assert await ask(shared, "/user/update", {"user_id": "u1", "max_budget": 9}) in (401, 403)


async def test_it_makes_a_narrow_and_a_shared_key(tmp_path: Path, serve: Serve, session: aiohttp.ClientSession) -> None:
    harness = await serve()
    await makes_two_keys(tmp_path, session, harness.url, MASTER_KEY)


@pytest.mark.needs_litellm
async def test_the_real_litellm_makes_them(
    tmp_path: Path, real_litellm: RealLiteLLM, session: aiohttp.ClientSession
) -> None:
    await makes_two_keys(tmp_path, session, real_litellm.url, real_litellm.master_key)


async def test_a_refusal_is_printed_and_ends_the_script(tmp_path: Path, serve: Serve) -> None:
    harness = await serve()
    code, output = await run(tmp_path, harness.url, "sk-not-the-master-key", ("sk-" + "a" * 20, "sk-" + "b" * 20))
    assert code == 1
    assert output.startswith("/user/new: 401 ")
