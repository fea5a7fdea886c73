"""The identity kinds that need a lookup, in the whole application: from Traefik's request to the stream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from access.access_samples import session
from access.oidc_provider import AUDIENCE, ISSUER, jwk, key_set, signed
from app.identity_servers import Issuer, OpenWebUIServer
from servers.running import (
    GATE_SECRET,
    LITELLM_KEY,
    SESSION_SECRET,
    Running,
    environ_of,
    running_application,
    served,
    write_apps,
)
from servers.stopwatch import stopwatch
from servers.traefik import until

from gateway.app.application import Application
from gateway.errors import ConfigError
from gateway.settings import read_settings


@dataclass
class Harness:
    """skai finds its users at `open_webui` and at `issuer`, blog at LiteLLM; `ahead` is how far the clock has gone."""

    open_webui: OpenWebUIServer
    issuer: Issuer
    running: Running = None  # type: ignore[assignment]  # set with the rest
    ahead: float = 0

    async def user(self, app: str = "skai", path: str = "/", **headers: str) -> str:
        """The user in the gate's answer, or its status and error."""
        status, answered, text = await self.running.gate(app=app, host=_HOSTS[app], path=path, **headers)
        return str(answered.get("X-SK-User", "nobody")) if status == 200 else f"{status} {json.loads(text)['error']}"

    def token(self, key: str = "rsa", **changes: object) -> str:
        now = int(time.time() + self.ahead)
        return signed(key, exp=now + 600, iat=now, **changes).decode()

    async def litellm_key(self, user_id: str) -> str:
        url, headers = self.running.environ["LITELLM_URL"], {"Authorization": f"Bearer {LITELLM_KEY}"}
        made = self.running.session.post(f"{url}/key/generate", json={"user_id": user_id}, headers=headers)
        async with made as answer:
            return str((await answer.json())["key"])

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[aiohttp.StreamReader]:
        url = f"{self.running.gate_url}/gate/changes"
        async with self.running.session.get(url, headers={"X-SK-Gate": GATE_SECRET}) as answer:
            await answer.content.readline()
            yield answer.content


PAID = "/api/v1/images"
_HOSTS = {"skai": "chat.example.com", "blog": "blog.example.com"}


async def next_change(lines: aiohttp.StreamReader) -> dict[str, Any]:
    """The next line that is no heartbeat, without its number."""
    while True:
        line: dict[str, Any] = json.loads(await asyncio.wait_for(lines.readline(), 5))
        del line["n"], line["own"]
        if line:
            return line


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(OpenWebUIServer(), Issuer(document=key_set(jwk("rsa"))))
    async with served(made.open_webui.application()) as open_webui, served(made.issuer.application()) as issuer:

        def kinds(apps: dict[str, Any]) -> None:
            skai, blog = apps["apps"]
            session_kind = {**skai["identity"][0], "introspect": open_webui, "namespace": "", "admins": "pass"}
            token_kind = {
                "kind": "jwt", "issuer": ISSUER, "audience": AUDIENCE, "jwks_url": f"{issuer}/certs",
                "header": "X-Token", "namespace": "sso",
            }  # fmt: skip
            skai["identity"] = [session_kind, token_kind, {"kind": "user_key"}]
            blog["identity"] = [{"kind": "litellm_key"}, {"kind": "user_key"}]

        write_apps(tmp_path, kinds)
        async with running_application(tmp_path, clock=lambda: time.time() + made.ahead) as running:
            made.running = running
            yield made


async def test_a_session_is_valid_until_open_webui_ends_it_and_the_stream_announces_it(harness: Harness) -> None:
    token = session("alice", secret=SESSION_SECRET)
    harness.open_webui.signs_in(token, "alice")
    sent = {"Cookie": f"token={token.decode()}"}
    assert await harness.user(**sent) == "alice"
    assert await harness.user(**sent) == "alice"
    assert len(harness.open_webui.requests) == 1
    async with harness.stream() as lines:
        harness.open_webui.rows.clear()
        harness.ahead += 31
        assert await harness.user(**sent) == "nobody"  # or its sign-in page could not load
        assert await next_change(lines) == {"app": "skai", "user": "alice"}
    assert await harness.user(**sent) == "nobody"
    assert await harness.user(path=PAID, **sent) == "401 sign_in_required"


async def test_a_pending_account_is_refused_until_it_is_activated(harness: Harness) -> None:
    """As a Bearer, too: Open WebUI's page sends one with every call."""
    token = session("ada", secret=SESSION_SECRET)
    harness.open_webui.signs_in(token, "ada", "pending")
    for sent in ({"Cookie": f"token={token.decode()}"}, {"Authorization": f"Bearer {token.decode()}"}):
        assert await harness.user(**sent) == "nobody"
        assert await harness.user(path=PAID, **sent) == "401 sign_in_required"
    harness.open_webui.signs_in(token, "ada")
    harness.ahead += 5
    assert await harness.user(**sent) == "ada"


async def test_administrators_pass_until_they_are_none_any_more(harness: Harness) -> None:
    token, other = (session(name, secret=SESSION_SECRET) for name in ("root", "alice"))
    harness.open_webui.signs_in(token, "root", "admin")
    harness.open_webui.signs_in(other, "alice")
    sent = {"Cookie": f"token={token.decode()}"}
    assert await harness.user(path=PAID, **sent) == "root"
    status, headers, _ = await harness.running.gate(path=PAID, **sent)
    assert (status, headers["X-SK-Tier"]) == (200, "free")
    assert await harness.user(path=PAID, Cookie=f"token={other.decode()}") == "402 tier_required"
    async with harness.stream() as lines:
        harness.open_webui.signs_in(token, "root", "user")
        harness.ahead += 31
        assert await harness.user(path=PAID, **sent) == "402 tier_required"
        assert await next_change(lines) == {"app": "skai", "user": "root"}


async def test_most_sessions_failing_opens_an_alert_and_good_ones_resolve_it(harness: Harness) -> None:
    async def is_open() -> bool:
        _, found = await harness.running.admin("GET", "/admin/alerts")
        return any((row["kind"], row["subject"]) == ("sessions_not_verified", "skai") for row in found["alerts"])

    async def is_over() -> bool:
        return not await is_open()

    for number in range(3):
        foreign = session(f"u{number}", secret="another-secret-of-32-bytes-at-least!")
        assert await harness.user(Cookie=f"token={foreign.decode()}") == "nobody"
    await until(is_open, "the alert is open", 15)
    for number in range(3):
        good = session(f"u{number}", secret=SESSION_SECRET)
        harness.open_webui.signs_in(good, f"u{number}")
        for _ in range(2):
            assert await harness.user(Cookie=f"token={good.decode()}") == f"u{number}"
    await until(is_over, "the alert is over", 15)


async def test_while_open_webui_is_down_confirmed_users_continue_and_new_ones_wait(harness: Harness) -> None:
    old, new = session("alice", secret=SESSION_SECRET), session("bob", secret=SESSION_SECRET)
    harness.open_webui.signs_in(old, "alice")
    assert await harness.user(Cookie=f"token={old.decode()}") == "alice"
    harness.open_webui.fault = "slow"
    harness.ahead += 31
    async with stopwatch() as watch:
        assert await harness.user(Cookie=f"token={old.decode()}") == "alice"
        assert await harness.user(Cookie=f"token={new.decode()}") == "503 identity_unavailable"
        assert watch.seconds < 3
    assert await harness.user() == "nobody"


async def test_an_issuers_token_is_valid_until_its_key_is_removed_and_all_are_invalidated(harness: Harness) -> None:
    assert await harness.user(X_Token=harness.token()) == "sso:alice"
    old = harness.token()
    assert await harness.user(X_Token=old) == "sso:alice"
    async with harness.stream() as lines:
        harness.issuer.document = key_set(jwk("rsa-2"))
        harness.ahead += 61
        assert await harness.user(X_Token=harness.token("rsa-2", sub="bob")) == "sso:bob"
        assert (await next_change(lines))["all"] is True
    assert await harness.user(X_Token=old) == "401 sign_in_required"


async def test_the_first_credential_in_the_apps_order_decides(harness: Harness) -> None:
    cookie = session("alice", secret=SESSION_SECRET)
    harness.open_webui.signs_in(cookie, "alice")
    sent = {"Cookie": f"token={cookie.decode()}", "X_Token": harness.token(sub="bob")}
    assert await harness.user(**sent) == "alice"
    junk = {"X_Token": harness.token(sub="bob"), "Cookie": "token=junk"}
    assert await harness.user(**junk) == "nobody"
    assert await harness.user(path=PAID, **junk) == "401 sign_in_required"


async def test_a_litellm_key_identifies_its_user_by_its_hash(harness: Harness) -> None:
    key = await harness.litellm_key("carol")
    assert await harness.user("blog", Authorization=f"Bearer {key}") == "carol"
    assert await harness.user("blog", X_Api_Key=key) == "carol"
    assert await harness.user("blog", Authorization="Bearer sk-made-up") == "401 sign_in_required"
    requests = [entry for entry in harness.running.litellm.requests if entry["path"] == "/key/info"]
    assert len(requests) == 2
    assert key not in repr(requests)


async def test_an_unavailable_issuer_is_reported_and_prevents_no_start(tmp_path: Path) -> None:
    def closed(apps: dict[str, Any]) -> None:
        apps["apps"][0]["identity"] = [
            {"kind": "jwt", "issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "http://127.0.0.1:9/certs"}
        ]

    async with running_application(tmp_path) as running:
        write_apps(tmp_path, closed)
        assert (await running.admin("POST", "/admin/reload"))[0] == 200
        assert running.application.problems() == {"keys of http://127.0.0.1:9/certs": "not read yet"}
        status, _, text = await running.gate(Authorization=f"Bearer {signed().decode()}")
        assert (status, json.loads(text)["error"]) == (401, "sign_in_required")  # expired, whichever key signed it
        fresh = signed(exp=int(time.time()) + 60, iat=None).decode()
        status, headers, text = await running.gate(Authorization=f"Bearer {fresh}")
        assert (status, json.loads(text)["error"], headers["Retry-After"]) == (503, "identity_unavailable", "1")


def test_litellm_keys_need_litellm(tmp_path: Path) -> None:
    def keys(apps: dict[str, Any]) -> None:
        apps["apps"] = apps["apps"][1:]
        apps["apps"][0]["identity"] = [{"kind": "user_key"}, {"kind": "litellm_key"}]

    write_apps(tmp_path, keys)
    environ = environ_of(tmp_path, stripe_url="http://127.0.0.1:9", litellm_url="http://127.0.0.1:9")
    del environ["LITELLM_URL"], environ["LITELLM_KEY"]
    with pytest.raises(ConfigError) as refused:
        Application(read_settings(environ), environ)
    assert refused.value.problems[0].endswith(
        "apps[0].identity[1]: LITELLM_URL is not set; set it, or take litellm_key out"
    )
