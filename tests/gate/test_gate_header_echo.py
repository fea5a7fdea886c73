"""`/.skpayments/arrived` at the gate: doctor's token passes anonymously, every other request is not found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from access.access_samples import APP, NOW
from gate.gate_stage import ARRIVAL_KEYS, ask, stage

from gateway.access.header_echo_tokens import make_echo_token

PATH = "/.skpayments/arrived"


def target(key: bytes = ARRIVAL_KEYS[0], app_id: str = "skai", now: int = NOW) -> str:
    return f"{PATH}?app={app_id}&pass={make_echo_token(key, app_id, 'nonce', now)}"


async def test_a_valid_token_passes_anonymously_on_the_first_tier() -> None:
    """Where the app refuses the anonymous too: behind this path is our own listener, never the app."""
    async with stage(replace(APP, anonymous="refuse")) as place:
        for key in ARRIVAL_KEYS:
            for user in (None, "alice"):
                answer = await ask(place.port, uri=target(key), user=user)
                assert answer.status == 200
                assert answer.tags[:3] == ("skai", None, "free")
        assert place.count("skai", "", "arrived") == 4


@pytest.mark.parametrize(
    "uri",
    [
        PATH,
        f"{PATH}?pass=",
        f"{PATH}?pass=1.W10.AAAA",
        target(b"another key of thirty-two bytes!!"),
        target(app_id="blog"),
        target(now=NOW - 60),
        target() + "&pass=x",
        target() + "&a=b" * 1000,
        PATH + "/" + target().removeprefix(PATH) + "x",
    ],
)
async def test_anything_else_is_not_found(uri: str) -> None:
    """It must not reach the app either, should the router for it be missing: 404 where `/` would pass."""
    async with stage() as place:
        for user in (None, "alice"):
            answer = await ask(place.port, uri=uri, user=user)
            assert (answer.status, answer.json["error"]) == (404, "not_found")
        assert place.count("skai", "", "not_found") == 2
