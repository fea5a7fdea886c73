"""Credential lookups at other services: their answers, the last answer during an outage, and limits on floods."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from access.access_samples import NOW, SECRETS, SESSION_REF, session, with_app
from app.identity_servers import OpenWebUIServer, resolved_identity
from servers.stopwatch import stopwatch
from servers.traefik import until

from gateway.access.app_access import AppAccess, app_access
from gateway.access.authentication import (
    AuthenticatedUser,
    AuthenticationOrLookup,
    CredentialLookup,
    RejectedCredential,
)
from gateway.app import credential_resolver
from gateway.app.credential_resolver import MAX_AT_ONCE, MAX_WAITING_UNRECOGNISED, CredentialResolver, identity_session
from gateway.catalog.identity import LiteLLMKeyIdentity, OpenWebUIIdentity, UserKeyIdentity
from gateway.catalog.model import LiteLLMMode
from gateway.errors import UpstreamFailed
from gateway.litellm import LiteLLM
from gateway.metrics import Registry
from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.litellm.faults import Fault
from gateway.settings import Secret

MASTER_KEY = "sk-master-of-the-sandbox-77aa"
A, B = session("alice"), session("bob")
API_KEY = b"sk-0123456789abcdef0123456789abcdef"


@dataclass
class Harness:
    """An app with `openwebui` that asks `open_webui`; a LiteLLM; and the changes reported to the gate."""

    open_webui: OpenWebUIServer
    litellm: LiteLLMSandbox
    litellm_url: str
    now: float = NOW
    changed: list[tuple[str, str]] = field(default_factory=list)
    apps: dict[str, AppAccess] = field(default_factory=dict)
    resolver: CredentialResolver = None  # type: ignore[assignment]  # set with the rest
    registry: Registry = field(default_factory=Registry)

    def sees(self, header: str, value: bytes) -> AuthenticationOrLookup:
        """What the gate finds by itself."""
        return self.apps["skai"].identity.authenticate({header.encode(): value}, int(self.now))

    async def authenticate(self, credential: bytes) -> str:
        return await resolved_identity(self.resolver, self.sees("Authorization", b"Bearer " + credential))

    def counted(self, outcome: str, kind: str = "openwebui") -> float:
        names = ("app", "kind", "outcome")
        return self.registry.counter("skpay_identity_lookups_total", "", names).of("skai", kind, outcome).value

    async def key_of(self, user_id: str | None) -> bytes:
        return (await self.call("/key/generate", {"user_id": user_id}))["key"].encode()  # type: ignore[no-any-return]  # JSON

    async def call(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        async with (
            aiohttp.ClientSession() as operator,
            operator.post(self.litellm_url + path, json=body, headers=headers) as answer,
        ):
            return await answer.json()


@pytest.fixture
async def harness(aiohttp_server: Any) -> AsyncIterator[Harness]:
    open_webui, sandbox = OpenWebUIServer(), LiteLLMSandbox(MASTER_KEY, clock=lambda: stored[0].now)
    servers = [await aiohttp_server(each.application()) for each in (open_webui, sandbox)]
    urls = [str(server.make_url("")).rstrip("/") for server in servers]
    stored = [Harness(open_webui, sandbox, urls[1])]
    made = stored[0]
    kinds = (OpenWebUIIdentity(SESSION_REF, urls[0]), UserKeyIdentity())
    made.apps["skai"] = app_access(with_app(identity=kinds), SECRETS, {})
    async with identity_session() as asks, aiohttp.ClientSession() as session_of_litellm:
        made.resolver = CredentialResolver(
            asks,
            LiteLLM(session_of_litellm, urls[1], (Secret(MASTER_KEY),), clock=lambda: made.now),
            access=made.apps.get,
            changed=lambda app_id, user_id: made.changed.append((app_id, user_id)),
            keys_removed=lambda url: None,
            registry=made.registry,
            clock=lambda: made.now,
        )
        yield made
        await made.resolver.stop()


async def test_a_session_that_open_webui_confirms_is_its_users_for_thirty_seconds(harness: Harness) -> None:
    harness.open_webui.signs_in(A, "alice")
    assert await harness.authenticate(A) == "alice"
    assert await harness.authenticate(A) == "alice"
    harness.now += 30
    assert await harness.authenticate(A) == "alice"
    assert [path for path, _ in harness.open_webui.requests] == ["/api/v1/auths/"] * 2
    assert harness.changed == []


async def test_open_webui_is_shown_the_session_and_nothing_else(harness: Harness) -> None:
    """It sends its cookie with every answer: kept, it would go out with the next person's question."""
    harness.open_webui.signs_in(A, "alice")
    harness.open_webui.signs_in(B, "bob")
    assert [await harness.authenticate(A), await harness.authenticate(B)] == ["alice", "bob"]
    for (_, headers), token in zip(harness.open_webui.requests, (A, B), strict=True):
        assert headers["Authorization"] == f"Bearer {token.decode()}"
        assert "Cookie" not in headers


@pytest.mark.parametrize(
    ("credential", "row", "expected"),
    [
        (A, None, "revoked"),
        (A, {"id": "alice", "role": "pending"}, "not_activated"),
        (A, {"id": "alice", "role": "admin"}, "alice"),
        (A, {"id": "bob", "role": "user"}, "wrong_user"),
        (A, {"id": None, "role": "user"}, "malformed_token"),
        (A, {"id": "alice"}, "unavailable"),
        (A, {"id": "alice", "role": 7}, "unavailable"),
        (A, ["alice"], "unavailable"),
        (API_KEY, None, "unknown_key"),
        (API_KEY, {"id": "alice", "role": "pending"}, "not_activated"),
        (API_KEY, {"id": "carol", "role": "user"}, "carol"),
        (API_KEY, {"id": "", "role": "user"}, "malformed_token"),
    ],
)
async def test_open_webuis_answers(harness: Harness, credential: bytes, row: Any, expected: str) -> None:
    if row is not None:
        harness.open_webui.rows[credential.decode()] = row
    assert await harness.authenticate(credential) == expected
    assert harness.changed == []
    assert len(harness.open_webui.requests) == 1
    if expected != "unavailable":
        assert await harness.authenticate(credential) == expected
        assert len(harness.open_webui.requests) == 1  # remembered, a refusal too


async def test_an_api_key_outside_the_lookup_rules_is_refused(harness: Harness) -> None:
    harness.open_webui.fault = 403
    assert await harness.authenticate(API_KEY) == "api_key_unsupported"
    assert await harness.authenticate(A) == "revoked"


async def test_an_ended_session_is_detected_within_thirty_seconds_and_announced(harness: Harness) -> None:
    harness.open_webui.signs_in(A, "alice")
    assert await harness.authenticate(A) == "alice"
    harness.open_webui.rows.clear()
    assert await harness.authenticate(A) == "alice"
    harness.now += 30
    assert await harness.authenticate(A) == "revoked"
    assert harness.changed == [("skai", "alice")]
    assert harness.sees("Cookie", b"token=" + A) == RejectedCredential(
        "revoked", "the session was ended; sign in again", "cookie:token"
    )
    harness.now += 30
    harness.open_webui.fault = 500  # an outage does not bring it back
    assert await harness.authenticate(A) == "unavailable"


FAULTS = [500, 502, 404, 429, 200, "html", "redirect", "huge", "cut", "slow"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_while_open_webui_does_not_answer_its_last_word_counts_for_an_hour(
    harness: Harness, fault: int | str
) -> None:
    harness.open_webui.signs_in(A, "alice")
    harness.open_webui.signs_in(B, "bob")
    assert await harness.authenticate(A) == "alice"
    harness.open_webui.fault = fault
    harness.now += 1800
    async with stopwatch() as watch:
        assert await harness.authenticate(A) == "alice"
        assert await harness.authenticate(B) == "unavailable"
        assert watch.seconds < 2 * 0.8 + 0.8  # each within its time
    harness.now += 1800
    assert await harness.authenticate(A) == "unavailable"
    harness.open_webui.fault = ""
    assert await harness.authenticate(A) == "alice"
    assert harness.changed == []
    assert (harness.counted("last_good"), harness.counted("unanswered")) == (1, 2)


async def test_a_confirmed_session_waits_only_once_for_an_unresponsive_open_webui(harness: Harness) -> None:
    people = [session(f"u{number}") for number in range(5)]
    for number, token in enumerate(people):
        harness.open_webui.signs_in(token, f"u{number}")
        assert await harness.authenticate(token) == f"u{number}"
    harness.open_webui.fault = "slow"
    harness.open_webui.requests.clear()
    harness.now += 60
    async with stopwatch() as watch:
        for _ in range(3):
            assert [await harness.authenticate(token) for token in people] == [f"u{number}" for number in range(5)]
        assert watch.seconds < 2
    assert len(harness.open_webui.requests) == 1


async def test_one_question_at_a_time_for_one_credential(harness: Harness) -> None:
    harness.open_webui.signs_in(A, "alice")
    assert await asyncio.gather(*(harness.authenticate(A) for _ in range(50))) == ["alice"] * 50
    assert len(harness.open_webui.requests) == 1


async def test_a_cancelled_request_does_not_cancel_the_shared_lookup(harness: Harness) -> None:
    harness.open_webui.signs_in(A, "alice")
    found = harness.sees("Authorization", b"Bearer " + A)
    assert isinstance(found, CredentialLookup)
    first = asyncio.create_task(harness.resolver.resolve("skai", found))
    second = asyncio.create_task(harness.resolver.resolve("skai", found))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == AuthenticatedUser("alice", NOW + 30)
    assert len(harness.open_webui.requests) == 1


async def test_a_flood_of_unknown_credentials_is_bounded_and_delays_no_known_one(harness: Harness) -> None:
    harness.open_webui.signs_in(A, "alice")
    assert await harness.authenticate(A) == "alice"
    harness.now += 30
    harness.open_webui.fault = "slow"
    junk = [b"sk-" + hashlib.sha256(bytes([number])).hexdigest().encode() for number in range(200)]
    async with stopwatch() as watch:
        flood = asyncio.gather(*(harness.authenticate(key) for key in junk))

        async def full() -> bool:
            return harness.open_webui.max_concurrent == MAX_AT_ONCE // 2

        await until(full, "half of the places are taken")
        harness.open_webui.fault = ""
        assert await harness.authenticate(A) == "alice"
        # Seen for the first time, but nobody can make up what Open WebUI has signed.
        harness.open_webui.signs_in(B, "bob")
        assert await harness.authenticate(B) == "bob"
        assert await flood == ["unavailable"] * 200
        assert watch.seconds < 2
    assert harness.open_webui.max_concurrent <= MAX_AT_ONCE // 2 + 1
    assert harness.counted("busy") == 200 - MAX_AT_ONCE // 2
    assert await harness.authenticate(junk[0]) == "unknown_key"


async def test_confirmed_credentials_are_served_while_lookups_are_at_their_limit(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow Open WebUI and many people: none of them is cut off by our own limit."""
    harness.open_webui.signs_in(A, "alice")
    assert await harness.authenticate(A) == "alice"
    harness.now += 30
    monkeypatch.setattr(credential_resolver, "MAX_AT_ONCE", 1)
    harness.open_webui.fault = "slow"
    other = asyncio.create_task(harness.authenticate(B))

    async def full() -> bool:
        return len(harness.open_webui.requests) == 2

    await until(full, "the only place is taken", 0.7)
    assert await harness.authenticate(A) == "alice"
    assert await harness.authenticate(session("carol")) == "unavailable"
    assert not other.done()
    assert (harness.counted("last_good"), harness.counted("busy")) == (1, 1)
    assert await other == "unavailable"


async def test_one_invalid_key_sent_a_thousand_times_fills_only_its_share_of_the_waiting_places(
    harness: Harness,
) -> None:
    harness.open_webui.fault = "slow"
    flood = asyncio.gather(*(harness.authenticate(API_KEY) for _ in range(1000)))

    async def turned_away() -> bool:
        return harness.counted("busy") == 1000 - MAX_WAITING_UNRECOGNISED

    await until(turned_away, "the others wait for nothing", 0.7)
    assert not flood.done()
    assert await flood == ["unavailable"] * 1000
    assert len(harness.open_webui.requests) == 1
    harness.open_webui.fault = ""
    harness.open_webui.signs_in(API_KEY, "carol")
    assert await asyncio.gather(*(harness.authenticate(API_KEY) for _ in range(100))) == ["carol"] * 100


async def test_an_edit_of_apps_json_meanwhile_is_no_answer(harness: Harness) -> None:
    found = harness.sees("Authorization", b"Bearer " + A)
    assert isinstance(found, CredentialLookup)
    harness.apps["skai"] = app_access(with_app(identity=(UserKeyIdentity(),)), SECRETS, {})
    for app_id in ("skai", "gone"):
        with pytest.raises(UpstreamFailed):
            await harness.resolver.resolve(app_id, found)


async def test_a_lookup_from_before_an_edit_of_apps_json_is_not_used_after_it(harness: Harness) -> None:
    """Else somebody would be named as the catalog before named them."""
    harness.open_webui.signs_in(API_KEY, "carol")
    first = asyncio.create_task(harness.authenticate(API_KEY))
    for _ in range(3):
        await asyncio.sleep(0)  # the question is on its way, and no answer can be here yet
    (before, *_) = harness.apps["skai"].app.identity
    assert isinstance(before, OpenWebUIIdentity)
    kinds = (replace(before, namespace="chat"), UserKeyIdentity())
    harness.apps["skai"] = app_access(with_app(identity=kinds), SECRETS, {}, harness.apps["skai"])
    assert await harness.authenticate(API_KEY) == "chat:carol"
    assert await first == "carol"  # a lookup from before the edit is repeated
    assert len(harness.open_webui.requests) == 2


def with_litellm(harness: Harness, template: str = "{user_id}") -> None:
    app = with_app(identity=(LiteLLMKeyIdentity(),), litellm=LiteLLMMode("internal_user", template))
    harness.apps["skai"] = app_access(app, SECRETS, {})


async def test_a_litellm_key_identifies_its_user_and_is_only_sent_hashed(harness: Harness) -> None:
    with_litellm(harness, "{app_id}:{user_id}")
    key, other = await harness.key_of("skai:alice"), await harness.key_of("blog:bob")
    harness.litellm.requests.clear()
    assert await harness.authenticate(key) == "alice"
    assert await harness.authenticate(key) == "alice"
    assert await harness.authenticate(other) == "unknown_key"
    assert [entry["path"] for entry in harness.litellm.requests] == ["/key/info"] * 2
    assert key.decode() not in repr(harness.litellm.requests)


@pytest.mark.parametrize("holder", [None, "default_user_id", "litellm-proxy-budget", "Default_User_Id "])
async def test_a_key_without_owner_or_of_litellm_itself_is_refused(harness: Harness, holder: str | None) -> None:
    with_litellm(harness)
    assert await harness.authenticate(await harness.key_of(holder)) == "unknown_key"
    assert await harness.authenticate(MASTER_KEY.encode()) == "unknown_key"
    assert await harness.authenticate(b"sk-made-up") == "unknown_key"


@pytest.mark.parametrize("ending", ["/key/block", "/key/delete"])
async def test_a_deleted_litellm_key_is_detected_within_thirty_seconds(harness: Harness, ending: str) -> None:
    with_litellm(harness)
    key = await harness.key_of("alice")
    assert await harness.authenticate(key) == "alice"
    await harness.call(ending, {"key": key.decode(), "keys": [key.decode()]})
    assert await harness.authenticate(key) == "alice"
    harness.now += 30
    assert await harness.authenticate(key) == "unknown_key"
    assert harness.changed == [("skai", "alice")]


async def test_a_key_that_changed_its_owner_is_announced(harness: Harness) -> None:
    with_litellm(harness)
    key = await harness.key_of("alice")
    assert await harness.authenticate(key) == "alice"
    harness.litellm.state.keys[key.decode()].user_id = "bob"
    harness.now += 30
    assert await harness.authenticate(key) == "bob"
    assert harness.changed == [("skai", "alice")]


async def test_while_litellm_is_down_its_last_answer_is_used_for_an_hour(harness: Harness) -> None:
    with_litellm(harness)
    key, other = await harness.key_of("alice"), await harness.key_of("bob")
    assert await harness.authenticate(key) == "alice"
    harness.litellm.faults.add(Fault("database", "/key/info", times=9))
    harness.now += 3599
    assert [await harness.authenticate(key), await harness.authenticate(other)] == ["alice", "unavailable"]
    harness.now += 1
    assert await harness.authenticate(key) == "unavailable"


async def test_a_litellm_that_refuses_our_key_is_logged_once(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    with_litellm(harness)
    key = await harness.key_of("alice")
    harness.litellm.faults.add(Fault("status", "/key/info", times=9, status=403))
    for _ in range(3):
        assert await harness.authenticate(key) == "unavailable"
    assert [record.msg for record in caplog.records if record.levelname == "ERROR"] == ["identity_provider_rejected"]
    assert key.decode() not in caplog.text


def test_an_ask_shows_no_credential() -> None:
    assert API_KEY.decode() not in repr(CredentialLookup("openwebui", 0, API_KEY, "authorization"))
