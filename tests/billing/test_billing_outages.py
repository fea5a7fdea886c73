"""Stripe fails during a purchase: the next click works, nothing is created twice, refusals for good are alerted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from servers.harness import DAY, Harness

from gateway.billing.accounts.adopt import Assignment, adopt_assigned
from gateway.billing.accounts.forget import forget
from gateway.billing.checkout.portal import open_portal, push_configurations
from gateway.billing.checkout.prices import resolve_prices
from gateway.billing.work.refusals import KEY_SUBJECT, REFUSED, UNAVAILABLE
from gateway.errors import StoreUnavailable, UpstreamFailed
from gateway.store import alerts

SESSIONS, CUSTOMERS = "/v1/checkout/sessions", "/v1/customers"
CONFIGURATIONS, PORTALS = "/v1/billing_portal/configurations", "/v1/billing_portal/sessions"


def customers_at_stripe(harness: Harness) -> list[dict[str, Any]]:
    return [each for each in harness.stripe.state.all("customer") if not each.get("deleted")]


def open_sessions(harness: Harness) -> list[dict[str, Any]]:
    return [each for each in harness.stripe.state.all("checkout.session") if each["status"] == "open"]


async def portal(harness: Harness, user_id: str = "u1") -> str:
    return await open_portal(harness.billing, harness.billing.apps.app("skai"), user_id)


async def click_until_faults_are_used_up(harness: Harness) -> int:
    """How many clicks failed; each was answered as an outage. The click with the last failure may succeed."""
    return await until_faults_are_used_up(harness, lambda: harness.checkout("u1"))


async def until_faults_are_used_up(harness: Harness, click: Callable[[], Awaitable[object]]) -> int:
    refusals: list[tuple[str, bool, str]] = []
    while harness.stripe.faults.waiting:
        try:
            await click()
        except UpstreamFailed as exc:
            refusals.append((exc.message, exc.retryable, exc.code))
        else:
            break
    assert not harness.stripe.faults.waiting
    assert set(refusals) <= {(UNAVAILABLE, True, "upstream_failed")}
    return len(refusals)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("path", [CUSTOMERS, SESSIONS])
async def test_after_an_outage_the_next_click_works(harness: Harness, path: str, status: int, restarted: bool) -> None:
    harness.stripe.fault("status", path, "POST", times=12, status=status)
    assert await click_until_faults_are_used_up(harness) >= 2
    if restarted:
        await harness.restart()
    assert (await harness.checkout("u1")).kind == "checkout"
    assert (len(customers_at_stripe(harness)), len(open_sessions(harness))) == (1, 1)
    assert await harness.alerts() == set()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_customer_that_a_500_left_over_is_found_and_used(harness: Harness, times: int) -> None:
    harness.stripe.fault("status", CUSTOMERS, "POST", times=times, done=True)
    await click_until_faults_are_used_up(harness)
    [leftover] = customers_at_stripe(harness)
    assert (await harness.checkout("u1")).kind == "checkout"
    assert (
        [each["id"] for each in customers_at_stripe(harness)] == [await harness.customer_id("u1")] == [leftover["id"]]
    )


async def test_only_a_customer_that_we_signed_is_taken_for_a_leftover(harness: Harness) -> None:
    """The metadata of anybody else's customer can say the same, without the signature."""
    foreign = {"app_id": "skai", "user_id": "u1"}
    await harness.billing.stripe.transport.post(CUSTOMERS, {"metadata": foreign})
    await harness.checkout("u2")
    harness.stripe.fault("status", CUSTOMERS, "POST")
    await click_until_faults_are_used_up(harness)
    assert (await harness.checkout("u1")).kind == "checkout"
    assert len({each["id"] for each in customers_at_stripe(harness)}) == 3
    assert await harness.customer_id("u1") != await harness.customer_id("u2")


async def test_a_session_that_a_500_left_over_cannot_be_paid_beside_the_next(harness: Harness) -> None:
    harness.stripe.fault("status", SESSIONS, "POST", done=True)
    await click_until_faults_are_used_up(harness)
    link = await harness.checkout("u1")
    assert [each["url"] for each in open_sessions(harness)] == [link.url]


@pytest.mark.parametrize("effect", ["lost_reply", "truncated"])
@pytest.mark.parametrize("first", [0, 1, 3])
async def test_an_answer_lost_after_an_outage_makes_no_second_customer(
    harness: Harness, first: int, effect: Any
) -> None:
    if first:
        harness.stripe.fault("status", CUSTOMERS, "POST", times=first)
        await click_until_faults_are_used_up(harness)
    harness.stripe.fault(effect, CUSTOMERS, "POST")
    harness.stripe.fault("reset", CUSTOMERS, "POST", times=4)
    for _ in range(6):
        try:
            await harness.checkout("u1")
            break
        except UpstreamFailed:
            await harness.restart()  # killed between the call and the record
    assert len(customers_at_stripe(harness)) == 1
    assert await harness.customer_id("u1") == customers_at_stripe(harness)[0]["id"]


async def test_a_checkout_succeeds_after_a_day(harness: Harness) -> None:
    harness.stripe.fault("status", CUSTOMERS, "POST", times=12)
    await click_until_faults_are_used_up(harness)
    harness.move(2 * DAY)
    assert (await harness.checkout("u1")).kind == "checkout"
    assert len(customers_at_stripe(harness)) == 1


@pytest.mark.parametrize("path", [CONFIGURATIONS, PORTALS])
async def test_after_an_outage_the_portal_opens(harness: Harness, path: str) -> None:
    await harness.checkout("u1")
    harness.stripe.fault("status", path, "POST", times=12)
    assert await until_faults_are_used_up(harness, lambda: portal(harness)) >= 2
    assert (await portal(harness)).startswith("http")
    assert len(harness.stripe.state.all("billing_portal.configuration")) == 1


async def test_a_lost_answer_makes_no_second_configuration(harness: Harness) -> None:
    await harness.checkout("u1")
    harness.stripe.fault("lost_reply", CONFIGURATIONS, "POST")
    harness.stripe.fault("reset", CONFIGURATIONS, "POST", times=2)
    with pytest.raises(UpstreamFailed):
        await portal(harness)
    await harness.restart()
    await portal(harness)
    mine = [
        each
        for each in harness.stripe.state.all("billing_portal.configuration")
        if each["metadata"] == {"app_id": "skai"}
    ]
    assert len(mine) == 1


async def test_configurations_are_pushed_after_an_outage(harness: Harness) -> None:
    harness.stripe.fault("status", CONFIGURATIONS, "POST", times=2)
    with pytest.raises(UpstreamFailed):
        await push_configurations(harness.billing)
    assert set(await push_configurations(harness.billing)) == {"skai", "studio"}


async def test_a_failing_store_is_an_outage_for_the_buyer(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(job: Any) -> Any:
        raise StoreUnavailable("The disk is full.", detail="/data")

    monkeypatch.setattr(harness.store, "write", full)
    with pytest.raises(StoreUnavailable) as refused:
        await harness.checkout("u1")
    assert refused.value.message == UNAVAILABLE


PERMANENT = [400, 401, 402, 403, 404, 422]


async def message_of(harness: Harness, kind: str) -> str:
    [found] = [each for each in await harness.query(alerts.live) if each.kind == kind]
    return found.message


@pytest.mark.parametrize("status", PERMANENT)
@pytest.mark.parametrize("path", [CUSTOMERS, SESSIONS])
async def test_a_checkout_that_is_refused_for_good_is_a_conflict_with_an_alert(
    harness: Harness, path: str, status: int
) -> None:
    harness.stripe.fault("status", path, "POST", times=9, status=status, code="some_code")
    for _ in range(2):
        with pytest.raises(UpstreamFailed) as refused:
            await harness.checkout("u1")
        assert (refused.value.code, refused.value.retryable) == ("stripe_refused", False)
        assert refused.value.message == REFUSED
    subject = KEY_SUBJECT if status in (401, 403) else "skai/u1"
    assert await harness.alerts() == {("checkout_refused", subject)}
    message = await message_of(harness, "checkout_refused")
    assert f"{status} some_code" in message
    assert "; " in message  # and what to do about it
    harness.stripe.faults.clear()
    await harness.checkout("u2")
    assert await harness.alerts() == (set() if subject == KEY_SUBJECT else {("checkout_refused", subject)})
    await harness.checkout("u1")
    assert await harness.alerts() == set()


@pytest.mark.parametrize("status", [409, 429, 500, 503])
async def test_a_transient_failure_raises_no_alert(harness: Harness, status: int) -> None:
    harness.stripe.fault("status", SESSIONS, "POST", times=9, status=status)
    with pytest.raises(UpstreamFailed) as refused:
        await harness.checkout("u1")
    assert (refused.value.message, refused.value.retryable) == (UNAVAILABLE, True)
    assert await harness.alerts() == set()


async def test_another_currency_is_explained_to_the_buyer_and_alerted(harness: Harness) -> None:
    """T62: Stripe refuses a second currency for ever."""
    subscription_id = await harness.subscribed("u1", "pro")
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    harness.stripe.add_price("prod_skai_enterprise", 9000, "eur", price_id="price_eur")
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][2].update(prices=[{"price_id": "price_eur"}]))
    for _ in range(2):
        with pytest.raises(UpstreamFailed) as refused:
            await harness.checkout("u1", "enterprise")
        assert (refused.value.code, refused.value.retryable) == ("currency_mismatch", False)
        assert refused.value.message == (
            "You have paid in USD before, and this price is in EUR. You have not been charged."
        )
    assert await harness.alerts() == {("currency_mismatch", "skai/u1")}
    message = await message_of(harness, "currency_mismatch")
    assert await harness.customer_id("u1") in message
    assert "price_eur" in message
    assert "delete the customer" in message
    # The remedy: nothing runs any more, so the customer may go, and the next checkout creates another one.
    await harness.billing.stripe.transport.delete(f"{CUSTOMERS}/{await harness.customer_id('u1')}")
    assert (await harness.checkout("u1", "enterprise")).kind == "checkout"
    assert await harness.alerts() == set()


async def test_a_portal_that_is_refused_for_good_is_a_conflict_with_an_alert(harness: Harness) -> None:
    await harness.checkout("u1")
    harness.stripe.fault("status", PORTALS, "POST", times=3, status=403, code="more_permissions_required")
    with pytest.raises(UpstreamFailed) as refused:
        await portal(harness)
    assert (refused.value.code, refused.value.message) == ("stripe_refused", REFUSED)
    assert await harness.alerts() == {("portal_refused", KEY_SUBJECT)}
    harness.stripe.faults.clear()
    await portal(harness)
    assert await harness.alerts() == set()


async def test_an_adoption_or_deletion_that_is_refused_for_good_is_alerted_until_it_succeeds(harness: Harness) -> None:
    made = await harness.billing.stripe.transport.post(CUSTOMERS, {"email": "ada@example.com"})
    assignments = [Assignment(str(made["id"]), "u1")]
    harness.stripe.fault("status", f"{CUSTOMERS}/.*", "POST", status=422)
    with pytest.raises(UpstreamFailed):
        await adopt_assigned(harness.billing, "skai", assignments, apply=True)
    assert await harness.alerts() == {("adopt_refused", "skai")}
    await adopt_assigned(harness.billing, "skai", assignments, apply=True)
    assert await harness.alerts() == set()
    harness.stripe.fault("status", f"{CUSTOMERS}/.*", "DELETE", status=400, code="some_code")
    with pytest.raises(UpstreamFailed):
        await forget(harness.billing, "skai", "u1")
    assert await harness.alerts() == {("users_delete_refused", "skai/u1")}
    await forget(harness.billing, "skai", "u1")
    assert await harness.alerts() == set()


async def test_a_checkout_refused_while_the_store_is_read_only_says_stripes_reason(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.checkout("u1")
    harness.stripe.fault("status", f"{CUSTOMERS}/.*", "GET", times=9, status=403)

    async def read_only(job: Any) -> Any:
        raise StoreUnavailable("read only")

    monkeypatch.setattr("gateway.billing.work.refusals.open_alert", lambda *_: read_only(None))
    with pytest.raises(UpstreamFailed) as refused:
        await harness.checkout("u1")
    assert refused.value.code == "stripe_refused"


@pytest.mark.parametrize(("status", "subject"), [(403, KEY_SUBJECT), (400, "prices")])
async def test_prices_that_cannot_be_read_for_good_are_alerted_until_they_can(
    harness: Harness, status: int, subject: str
) -> None:
    harness.stripe.fault("status", "/v1/prices.*", "GET", status=status)
    with pytest.raises(UpstreamFailed):
        await resolve_prices(harness.billing)
    assert await harness.alerts() == {("prices_refused", subject)}
    await resolve_prices(harness.billing)
    assert await harness.alerts() == set()
