"""The key set of the public listener, and an app backend that verifies with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from servers.running import ADMIN_TOKEN, PUBLIC_URL, Running, running_application, write_apps


@pytest.fixture
async def signing(tmp_path: Path) -> AsyncIterator[Running]:
    """SKPayments with assertions for skai and none for blog."""
    write_apps(tmp_path, lambda apps: apps["apps"][0].update(assertion=True))
    async with running_application(tmp_path) as application:
        yield application


DOCUMENT = (Path(__file__).parents[2] / "docs/identity.md").read_text(encoding="utf-8")


def verified(url: str, token: str, audience: str = "skai") -> dict[str, Any]:
    """By the code of docs/identity.md."""
    block = re.search(r"```python\n(import jwt.*?)\n```", DOCUMENT, re.DOTALL)
    assert block is not None
    lines = block[1].replace("http://skpayments:8080", url).replace("https://pay.example.com", PUBLIC_URL)
    there: dict[str, Any] = {}
    exec(lines.replace('"skai"', f'"{audience}"'), there)  # noqa: S102  # our own document
    claims: dict[str, Any] = there["verified_claims"](token)
    return claims


async def test_a_backend_verifies_an_assertion_with_what_is_served(signing: Running) -> None:
    status, headers, _ = await signing.gate()
    assert status == 200
    token = headers["X-SK-Assertion"]
    claims = await asyncio.to_thread(verified, signing.url, token)
    assert (claims["tier"], claims.get("sub"), claims["exp"] - claims["iat"]) == ("free", None, 60)
    with pytest.raises(jwt.InvalidAudienceError):
        await asyncio.to_thread(verified, signing.url, token, "blog")
    status, headers, _ = await signing.gate(app="blog", host="blog.example.com")
    assert (status, "X-SK-Assertion" in headers) == (200, False)


async def test_the_key_set_is_cacheable_for_five_minutes(signing: Running) -> None:
    async with signing.call("GET", "/.well-known/jwks.json", None) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        (key,) = (await answer.json())["keys"]
        assert "d" not in key


async def test_nothing_is_derived_from_the_admin_token_until_an_app_wants_it(running: Running) -> None:
    async with running.call("GET", "/.well-known/jwks.json", None) as answer:
        assert (answer.status, await answer.json()) == (200, {"keys": []})
        assert answer.headers["Cache-Control"] == "no-store"
    write_apps(running.folder, lambda apps: apps["apps"][1].update(assertion=True))
    assert (await running.admin("POST", "/admin/reload"))[0] == 200
    assert len((await running.json("GET", "/.well-known/jwks.json", None))[1]["keys"]) == 1
    status, headers, _ = await running.gate(app="blog", host="blog.example.com")
    assert (status, "X-SK-Assertion" in headers) == (200, True)


async def test_while_the_admin_token_is_rolled_both_keys_are_served_and_the_new_one_signs(tmp_path: Path) -> None:
    write_apps(tmp_path, lambda apps: apps["apps"][0].update(assertion=True))
    async with running_application(tmp_path) as before:
        _, headers, _ = await before.gate()
    async with running_application(
        tmp_path, ADMIN_TOKEN=f"a-new-admin-token-1a2b3c4d5e6f7a8b9c0d,{ADMIN_TOKEN}"
    ) as rolling:
        old, new = headers["X-SK-Assertion"], (await rolling.gate())[1]["X-SK-Assertion"]
        kids = [key["kid"] for key in (await rolling.json("GET", "/.well-known/jwks.json", None))[1]["keys"]]
        assert [jwt.get_unverified_header(token)["kid"] for token in (new, old)] == kids
        for token in (new, old):
            assert (await asyncio.to_thread(verified, rolling.url, token))["aud"] == "skai"
