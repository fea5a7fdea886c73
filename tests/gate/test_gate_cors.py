"""Which pages of other origins can read a refusal of the gate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from access.access_samples import SECRETS, with_app
from gate.gate_stage import SIGNER, USER_KEYS, Answer, ask, stage
from gate.test_gate_waiting import INTROSPECTED, lookup_stage

from gateway.access.app_access import app_access
from gateway.errors import UpstreamFailed

FRONT, OTHER = "https://app.example.com", "http://localhost:3000"
CORS = with_app(cors=(FRONT, OTHER))
NAMES = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Vary")
READABLE = ("true", "Link, Retry-After, WWW-Authenticate, X-SK-Tier", "Origin")


def cors(answer: Answer) -> tuple[str | None, ...]:
    return tuple(answer.header(name) for name in NAMES)


@pytest.mark.parametrize("origin", [FRONT, OTHER])
async def test_a_page_of_an_allowed_origin_reads_every_refusal(origin: str) -> None:
    more = [("Origin", origin)]
    async with stage(CORS) as on:
        for changes, status in (
            ({"uri": "/pro", "user": "bob"}, 402),
            ({"uri": "/pro"}, 401),
            ({"uri": "/.skpayments/upgrade"}, 401),
            ({"host": "other.example.com"}, 403),
            ({"method": "TRACE"}, 405),
            ({"uri": "x"}, 400),
        ):
            answer = await ask(on.port, **changes, more=more)  # type: ignore[arg-type]
            assert (answer.status, cors(answer)) == (status, (origin, *READABLE))
            assert answer.complete
        on.gate.ready = False
        answer = await ask(on.port, more=more)
        assert (answer.status, cors(answer)) == (503, (origin, *READABLE))


async def test_503_of_an_identity_that_cannot_be_checked_is_readable_too() -> None:
    async with lookup_stage() as (on, provider):
        on.gate.install({"skai": app_access(replace(INTROSPECTED, cors=(FRONT,)), SECRETS, USER_KEYS)}, SIGNER)
        await provider.answer("sk-key-of-x", UpstreamFailed("gone"))
        answer = await ask(on.port, uri="/pro", more=[("Origin", FRONT), ("X-Api-Key", "sk-key-of-x")])
        assert (answer.status, cors(answer)) == (503, (FRONT, *READABLE))
        assert answer.json["detail"] == "Your sign-in cannot be verified now. Try again in a moment."


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://app.example.com.evil.example", "https://APP.example.com", f"{FRONT}/", "null",
     "*", f"{FRONT}, {FRONT}", "http://app.example.com", "https://app.example.com:443", ""],
)  # fmt: skip
async def test_no_other_origin_reads_any(origin: str) -> None:
    async with stage(CORS) as on:
        answer = await ask(on.port, uri="/pro", user="bob", more=[("Origin", origin)])
        assert (answer.status, cors(answer)) == (402, (None, None, None, "Origin"))
        answer = await ask(on.port, uri="/pro", user="bob", more=[("Origin", FRONT), ("Origin", FRONT)])
        assert cors(answer) == (None, None, None, "Origin")


async def test_allowed_requests_and_apps_without_cors_have_no_cors_headers() -> None:
    async with stage(CORS) as on:
        answer = await ask(on.port, uri="/pro", user="alice", more=[("Origin", FRONT)])
        assert (answer.status, cors(answer)) == (200, (None,) * 4)
    async with stage() as on:
        answer = await ask(on.port, uri="/pro", user="bob", more=[("Origin", FRONT)])
        assert (answer.status, cors(answer)) == (402, (None,) * 4)
