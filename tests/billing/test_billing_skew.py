"""T28: an event that Stripe signed at another time than ours is refused, and the alert names the wrong clock."""

from __future__ import annotations

import json

import pytest
from servers.harness import START, STRIPE_KEY, WEBHOOK_SECRET, Harness

from gateway.billing.events.receive import receive
from gateway.errors import BadSignature
from gateway.sandbox.stripe.deliveries import signature
from gateway.settings import Secret
from gateway.store import alerts, inbox
from gateway.stripe.client import Stripe
from gateway.stripe.signature import MAX_STALE_SECONDS, check_header
from gateway.stripe.transport import Transport

EVENT = {"id": "evt_1", "object": "event", "type": "invoice.paid", "livemode": False, "data": {"object": {}}}
BODY = json.dumps(EVENT).encode()
SKEW = ("webhook_clock_skew", "stripe")


async def refused(harness: Harness, *, signed_at: float, secret: str = WEBHOOK_SECRET) -> str:
    """The code with which an event of that time is refused."""
    with pytest.raises(BadSignature) as caught:
        await receive(harness.billing, BODY, signature(secret, BODY, int(signed_at)))
    assert await harness.query(lambda conn: inbox.get(conn, "", "evt_1")) is None
    return caught.value.code


async def stripe_answers(harness: Harness, *, our_clock_is_ahead: int) -> None:
    """One call to Stripe: its `Date` is compared with our clock, which is off."""
    harness.billing.stripe = Stripe(
        Transport(
            harness.http,
            (Secret(STRIPE_KEY),),
            api_base=harness.stripe_url,
            clock=lambda: harness.clock.now + our_clock_is_ahead,
        )
    )
    await harness.billing.stripe.transport.get("/v1/products")


async def message(harness: Harness) -> str:
    [alert] = await harness.query(alerts.live)
    return alert.message


async def test_a_signed_event_of_another_time_is_refused_and_alerted_once(harness: Harness) -> None:
    for _ in range(3):
        assert await refused(harness, signed_at=START - 3600) == "stale_signature"
    [alert] = await harness.query(alerts.live)
    assert ((alert.kind, alert.subject), alert.count) == (SKEW, 3)
    assert "signed 3600 s ago" in alert.message


@pytest.mark.parametrize("age", [-301, 301, 3600, -86_400, 40 * 86_400])
async def test_a_forged_header_of_whatever_age_opens_no_alert(harness: Harness, age: int) -> None:
    assert await refused(harness, signed_at=START - age, secret="whsec_forged") == "bad_signature"
    assert await harness.alerts() == set()


async def test_our_own_clock_is_named_when_stripes_date_says_so(harness: Harness) -> None:
    await stripe_answers(harness, our_clock_is_ahead=3600)
    await refused(harness, signed_at=START - 3602)
    assert "OUR clock is 3600 s ahead of Stripe's" in await message(harness)


async def test_a_clock_that_is_behind_is_named_too(harness: Harness) -> None:
    await stripe_answers(harness, our_clock_is_ahead=-900)
    await refused(harness, signed_at=START + 901)
    assert "signed 901 s from now" in await message(harness)
    assert "OUR clock is 900 s behind Stripe's" in await message(harness)


@pytest.mark.parametrize("ahead", [0, 2, -2])
async def test_where_our_clock_is_right_it_is_the_event_that_is_old(harness: Harness, ahead: int) -> None:
    await stripe_answers(harness, our_clock_is_ahead=ahead)
    await refused(harness, signed_at=START - 3600)
    assert "our clock is right" in await message(harness)
    assert "OUR" not in await message(harness)


async def test_before_stripe_has_answered_nobody_is_blamed(harness: Harness) -> None:
    harness.billing.stripe = Stripe(Transport(harness.http, (Secret(STRIPE_KEY),), api_base=harness.stripe_url))
    await refused(harness, signed_at=START - 3600)
    assert "Stripe's clock is not known yet" in await message(harness)


async def test_the_next_good_event_ends_the_alert(harness: Harness) -> None:
    await refused(harness, signed_at=START - 3600)
    assert await harness.alerts() == {SKEW}
    await harness.post(EVENT)
    assert await harness.alerts() == set()
    body = json.dumps({**EVENT, "id": "evt_2"}).encode()
    with pytest.raises(BadSignature):
        await receive(harness.billing, body, signature(WEBHOOK_SECRET, body, START - 3600))
    assert await harness.alerts() == {SKEW}
    await harness.post(body)
    assert await harness.alerts() == set()


async def test_an_alert_of_before_a_restart_ends_as_well(harness: Harness) -> None:
    await refused(harness, signed_at=START - 3600)
    await harness.restart()
    assert await harness.alerts() == {SKEW}
    await harness.post(EVENT)
    assert await harness.alerts() == set()


async def test_a_store_that_takes_nothing_does_not_turn_a_refusal_into_anything_else(harness: Harness) -> None:
    await harness.store.close()
    with pytest.raises(BadSignature) as caught:
        await receive(harness.billing, BODY, signature(WEBHOOK_SECRET, BODY, START - 3600))
    assert caught.value.code == "stale_signature"


@pytest.mark.parametrize(
    ("age", "our_clock_is_ahead", "is_read"),
    [
        (0, None, True),
        (3600, None, True),
        (-3600, None, True),
        (MAX_STALE_SECONDS, None, True),
        (MAX_STALE_SECONDS + 1, None, False),
        (-MAX_STALE_SECONDS - 1, 0, False),
        # A clock that woke up in 1970 is found out by Stripe's own Date.
        (-START, -START + 5, True),
        (-START, -START + 500, False),
    ],
)
def test_only_a_body_that_may_be_stripes_is_read(age: int, our_clock_is_ahead: int | None, is_read: bool) -> None:
    header = f"t={START - age},v1={'0' * 64}"
    if is_read:
        check_header(header, START, our_clock_is_ahead)
        return
    with pytest.raises(BadSignature) as caught:
        check_header(header, START, our_clock_is_ahead)
    assert caught.value.code == "stale_signature"


@pytest.mark.parametrize("header", ["", "t=1", "v1=" + "0" * 64, f"t={START},v1=zz", "t=1,t=2,v1=" + "0" * 64])
def test_junk_is_refused_before_its_body(header: str) -> None:
    with pytest.raises(BadSignature):
        check_header(header, START, 0)
