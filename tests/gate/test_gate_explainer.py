"""`explain` gives the gate's answer to any request, without side effects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest
from access.access_samples import APP, NOW, SECRETS, SESSION_SECRET, session, token, with_app
from gate.gate_stage import GATE_SECRET, LINK_KEY, SIGNER, USER_KEYS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.access import links
from gateway.access.app_access import AppAccess, app_access
from gateway.access.table import TierTable
from gateway.catalog.model import App
from gateway.errors import InvalidInput
from gateway.gate import Explainer, GateHandler
from gateway.gate.request import canonical_names
from gateway.metrics import Registry
from gateway.settings import Secret

Sent = list[tuple[str, str]]
APPS = [
    APP,
    with_app(enforce=False),
    with_app(anonymous="refuse", sign_in_url="https://chat.example.com/auth"),
    with_app(assertion=True),
]
EXPIRED = token({"id": "alice", "exp": NOW - 100}, secret=SESSION_SECRET).decode()
ALICE, BOB = session("alice").decode(), session("bob").decode()


class Place:
    """A gate for one app, and the first-seen users that it reported."""

    def __init__(self, app: App) -> None:
        self.met: list[str] = []
        self.table = TierTable()
        self.table.set("skai", "alice", "pro")
        self.access: AppAccess = app_access(app, SECRETS, USER_KEYS)
        self.gate = GateHandler(
            secrets=(Secret(GATE_SECRET),),
            public_url="https://pay.example.com",
            table=self.table,
            sign_link=partial(links.sign, LINK_KEY),
            registry=Registry(),
            on_first_seen=lambda app_id, user_id: self.met.append(user_id),
            clock=lambda: NOW,
        )
        self.gate.install({"skai": self.access}, SIGNER)
        self.gate.ready = True

    def answer(self, method: str, host: str, target: str, sent: Sent) -> tuple[int, list[tuple[str, str]]]:
        """Status and headers of the gate's own answer to the call that Traefik would make."""
        headers = {
            b"X-Sk-Gate": GATE_SECRET.encode(), b"X-Forwarded-Host": host.encode(), b"X-Forwarded-Uri": target.encode(),
            b"X-Forwarded-Method": method.encode(),
        }  # fmt: skip
        for name, value in sent:
            key = canonical_names()[name.lower().encode()]
            headers[key] = headers[key] + b"\n" + value.encode() if key in headers else value.encode()
        start, *lines = self.gate.answer(b"GET", b"/gate?app=skai", headers).split(b"\r\n\r\n")[0].split(b"\r\n")
        pairs = [(name.decode(), value.decode()) for name, _, value in (line.partition(b": ") for line in lines)]
        return int(start.split()[1]), pairs

    def counted(self) -> list[str]:
        """All metrics except those of the caches: a verified credential is cached, as after any request."""
        return [line for line in self.gate.registry.render().splitlines() if "skpay_cached_credentials" not in line]

    async def explain(self, method: str, url: str, sent: Sent) -> dict[str, Any]:
        explainer = Explainer(self.gate, self.table, {"skai": self.access}.get, lambda: NOW)
        return await explainer.explain("skai", method, url, sent)


def at_once(explaining: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """The explanation; without a lookup nothing waits."""
    with pytest.raises(StopIteration) as done:
        explaining.send(None)
    result: dict[str, Any] = done.value.value
    return result


SIGNED = ("Content-Length", "X-SK-Assertion", "Location", "Link")
PATHS = st.sampled_from([
    "", "/", "/pro", "/pro/logo", "/pro%2flogo", "/PRO/x", "/static/x", "/upload", "/report?x=1", "/video", "/free",
    "/.skpayments/upgrade", "/.skpayments/arrived?pass=x", "/a//b", "/%2e%2e/pro", "/auth",
])  # fmt: skip
HOSTS = st.sampled_from(["chat.example.com", "CHAT.example.com:443", "sk.test", "evil.example"])
METHODS = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "TRACE", "PROPFIND", "get", "M@D"])
CREDENTIALS = st.sampled_from([
    ("Cookie", f"token={ALICE}"), ("Cookie", f"a=b; token={BOB}; c=d"), ("Cookie", f"token={EXPIRED}"),
    ("Cookie", "token=x; token=y"), ("Cookie", "other=1"), ("Authorization", f"Bearer {BOB}"),
    ("Authorization", "Bearer skp_alice"), ("Authorization", "Bearer skp_nobody"), ("Authorization", "Basic x"),
    ("X-API-Key", ALICE), ("x-api-key", "sk-x"),
])  # fmt: skip
HINTS = st.sampled_from([
    ("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Mode", "websocket"),
    ("Origin", "https://x.example"), ("Access-Control-Request-Method", "POST"),
])  # fmt: skip
REQUESTS = st.tuples(METHODS, HOSTS, PATHS, st.lists(CREDENTIALS, max_size=2), st.lists(HINTS, max_size=2))


@pytest.mark.parametrize("app", APPS, ids=["default", "not enforced", "sign-in needed", "with assertions"])
async def test_it_explains_the_gates_answer_without_side_effects(app: App) -> None:
    place = Place(app)
    statuses = set()

    @settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(request=REQUESTS)
    def check(request: tuple[str, str, str, Sent, Sent]) -> None:
        method, host, target, credentials, hints = request
        sent = [*credentials, *hints]
        status, headers = place.answer(method, host, target or "/", sent)
        counted, met = place.counted(), len(place.met)
        result = at_once(place.explain(method, f"https://{host}{target}", sent))
        assert result["answer"]["status"] == status
        same = [[name, value] for name, value in headers if name not in SIGNED]
        assert [pair for pair in result["answer"]["headers"] if pair[0] not in SIGNED] == same
        assert [name for name, _ in result["answer"]["headers"]] == [name for name, _ in headers]
        assert place.counted() == counted
        assert len(place.met) == met
        assert not any(secret in str(result) for secret in (ALICE, BOB, EXPIRED, "skp_alice", "t=1."))
        statuses.add(status)

    check()
    await asyncio.sleep(0)
    assert set(place.met) <= {"bob"}
    assert len(statuses) >= 4


async def test_an_explained_request_is_neither_reported_nor_counted() -> None:
    place = Place(APP)
    before = place.counted()
    result = await place.explain("GET", "https://chat.example.com/pro", [("Cookie", f"token={BOB}")])
    await asyncio.sleep(0)
    assert (result["answer"]["status"], place.met) == (402, [])
    assert place.counted() == before


@pytest.mark.parametrize(
    ("sent", "source", "user_id", "code"),
    [
        ([], None, None, None),
        ([("Cookie", "a=b")], None, None, None),
        ([("Cookie", f"token={ALICE}")], "cookie:token", "alice", None),
        ([("Cookie", f"a=b; token={ALICE}; c=d")], "cookie:token", "alice", None),
        ([("Cookie", "a=b"), ("Cookie", f"token={ALICE}")], "cookie:token", "alice", None),
        ([("Cookie", f"token={ALICE}"), ("Authorization", f"Bearer {BOB}")], "authorization", "bob", None),
        ([("Cookie", f"token={ALICE}"), ("Authorization", "Basic x")], "cookie:token", "alice", None),
        ([("Cookie", f"token={ALICE}"), ("X-API-Key", BOB)], "cookie:token", "alice", None),
        ([("X-API-Key", BOB)], "x-api-key", "bob", None),
        ([("Authorization", "Bearer skp_alice")], "authorization", "alice", None),
        ([("Authorization", "Bearer skp_x"), ("Cookie", f"token={ALICE}")], "authorization", None, "unknown_key"),
        ([("Cookie", f"token={EXPIRED}")], "cookie:token", None, "expired_token"),
        ([("Cookie", f"token={EXPIRED}; token={ALICE}")], "cookie:token", "alice", None),
        ([("Cookie", f"token={ALICE}; token=b")], "cookie:token", None, "malformed_token"),
        ([("Cookie", f"token={ALICE}; token="), ("X-API-Key", BOB)], "x-api-key", "bob", None),
        ([("Authorization", "Bearer undefined"), ("Cookie", f"token={ALICE}")], "cookie:token", "alice", None),
    ],
)
async def test_it_finds_the_deciding_credential(
    sent: Sent, source: str | None, user_id: str | None, code: str | None
) -> None:
    identity = (await Place(APP).explain("GET", "https://chat.example.com/", sent))["identity"]
    assert (identity["from"], identity["user_id"], identity["code"]) == (source, user_id, code)
    assert (identity["reason"] is None) == (code is None)


async def test_a_refusal_that_is_a_page_has_no_json_body() -> None:
    result = await Place(APP).explain("GET", "https://chat.example.com/pro", [("Sec-Fetch-Mode", "navigate")])
    assert (result["answer"]["status"], result["answer"]["body"]) == (401, None)


async def test_each_step_of_a_refusal() -> None:
    result = await Place(APP).explain("POST", "https://CHAT.example.com:443/pro/x?a=1", [("Cookie", f"token={BOB}")])
    assert result["host"] == {"asked": "CHAT.example.com:443", "read_as": "chat.example.com", "ours": True}
    assert result["path"] == {"asked": "/pro/x", "literal": "/pro/x/", "readings": ["/pro/x/"]}
    assert result["tier"] == {"in_table": None, "used": "free", "changes_at": None}
    assert [(rule["path"], rule["min_tier"], rule["verdict"]) for rule in result["rules"]] == [("/pro", "pro", "fails")]
    assert result["outcome"] == "tier_required"
    assert result["answer"]["body"] == {
        "error": "tier_required", "message": "this needs the tier Pro", "required_tier": "pro", "current_tier": "free",
        "upgrade_url": "https://pay.example.com/buy/skai?t=not-shown",
        "detail": "This needs the tier Pro. [Upgrade to Pro](https://pay.example.com/buy/skai?t=not-shown)",
    }  # fmt: skip


async def test_it_shows_when_the_clock_changes_the_tier() -> None:
    place = Place(APP)
    place.table.set("skai", "alice", "plus", NOW + 60)  # a former id of pro
    result = await place.explain("GET", "https://chat.example.com/", [("Cookie", f"token={ALICE}")])
    assert result["tier"] == {"in_table": "plus", "used": "pro", "changes_at": NOW + 60}


async def test_headers_that_traefik_sets_or_removes_are_ignored() -> None:
    lies = [("X-Forwarded-Uri", "/static"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Method", "TRACE"),
            ("X-SK-Gate", "wrong"), ("X_SK_Tier", "max"), ("X-Original-Url", "/static")]  # fmt: skip
    result = await Place(APP).explain("GET", "https://chat.example.com/pro", [("Cookie", f"token={ALICE}"), *lies])
    assert (result["answer"]["status"], result["outcome"]) == (200, "allowed")
    assert ["X-SK-Tier", "pro"] in result["answer"]["headers"]


async def test_it_explains_a_gate_that_is_not_ready() -> None:
    place = Place(APP)
    place.gate.ready = False
    result = await place.explain("GET", "https://chat.example.com/", [])
    assert (result["answer"]["status"], result["outcome"]) == (503, "not_ready")


@pytest.mark.parametrize(
    "url",
    ["", "/pro", "chat.example.com/pro", "ftp://chat.example.com/", "https://", "https:///x", "https://[::1",
     "https://user:pw@chat.example.com/", "https://chat.example.com/a b", "https://chat.example.com/\u00e9",
     "https://chat.example.com/\x00"],
)  # fmt: skip
async def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="url"):
        await Place(APP).explain("GET", url, [])
