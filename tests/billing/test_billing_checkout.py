"""Checkout: one open session at a time and no second subscription, also after lost answers and repeated requests."""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Any

import pytest
from servers.harness import DAY, Harness

from gateway.billing.checkout.checkout import expire_withdrawn
from gateway.billing.checkout.prices import resolve_prices
from gateway.errors import Conflict, InvalidInput, NotFound, UpstreamFailed
from gateway.store import checkouts, customers
from gateway.stripe.idempotency import idempotency_key

SESSIONS, CUSTOMERS = "/v1/checkout/sessions", "/v1/customers"


def sessions(harness: Harness, status: str = "open") -> list[dict[str, Any]]:
    return [each for each in harness.stripe.state.all("checkout.session") if each["status"] == status]


def people(harness: Harness) -> list[dict[str, Any]]:
    return harness.stripe.state.all("customer")


async def test_the_same_purchase_gets_the_same_session(harness: Harness) -> None:
    first = await harness.checkout("u1", "pro", "month")
    assert (first.kind, await harness.checkout("u1", "pro", "month")) == ("checkout", first)
    await harness.restart()
    assert await harness.checkout("u1", "pro", "month") == first
    assert (len(sessions(harness)), len(people(harness))) == (1, 1)


@pytest.mark.parametrize(("tier", "interval"), [("enterprise", None), ("pro", "year")])
async def test_another_tier_or_interval_expires_the_first_session(harness: Harness, tier: str, interval: str) -> None:
    first = await harness.checkout("u1", "pro", "month")
    second = await harness.checkout("u1", tier, interval)
    assert second.url != first.url
    assert [each["url"] for each in sessions(harness)] == [second.url]
    third = await harness.checkout("u1", "pro", "month")
    assert third.url not in (first.url, second.url)
    assert [each["url"] for each in sessions(harness)] == [third.url]


async def test_a_session_about_to_expire_is_replaced(harness: Harness) -> None:
    first = await harness.checkout("u1")
    harness.move(DAY - 299)
    second = await harness.checkout("u1")
    assert second.url != first.url
    assert len(sessions(harness)) == 1


async def test_an_expired_session_is_followed_by_a_new_one(harness: Harness) -> None:
    first = await harness.checkout("u1")
    harness.move(2 * DAY)
    second = await harness.checkout("u1")
    assert (second.kind, second.url != first.url) == ("checkout", True)


async def test_session_customer_and_subscription_name_app_and_user(harness: Harness) -> None:
    await harness.buy("u1", "pro", "year")
    [session] = sessions(harness, "complete")
    [subscription] = harness.stripe.state.all("subscription")
    user = {"app_id": "skai", "user_id": "u1"}
    for shown in (people(harness)[0], session, subscription):
        assert shown["metadata"].items() >= user.items()
    assert (session["client_reference_id"], session["success_url"]) == ("u1", "https://chat.example.com/?upgraded=1")
    assert subscription["items"]["data"][0]["price"] == "price_pro_year"


async def test_a_user_who_paid_a_moment_ago_is_sent_to_the_portal(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is complete, but the list of subscriptions does not have it yet."""
    await harness.buy("u1")
    real = harness.stripe.state.objects["subscription"]
    with monkeypatch.context() as patched:
        patched.setitem(harness.stripe.state.objects, "subscription", {})
        link = await harness.checkout("u1", "enterprise")
    assert link.kind == "portal"
    assert sessions(harness) == []
    assert len(real) == 1
    await harness.settle()  # no event came: asking was enough to look
    assert await harness.tier("u1") == "pro"


async def test_a_running_subscription_leads_to_the_portal_with_the_change(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    link = await harness.checkout("u1", "enterprise")
    assert link.kind == "portal"
    flow = harness.stripe.state.all("billing_portal.session")[-1]["flow"]
    confirm = flow["subscription_update_confirm"]
    assert (flow["type"], confirm["subscription"]) == ("subscription_update_confirm", subscription_id)
    assert [item["price"] for item in confirm["items"]] == ["price_123"]
    assert sessions(harness) == []


@pytest.mark.parametrize("tier", ["pro", "enterprise"])
@pytest.mark.parametrize("status", ["past_due", "unpaid", "paused", "new_status"])
async def test_a_subscription_that_is_not_over_is_never_joined_by_a_second(
    harness: Harness, status: str, tier: str
) -> None:
    """T21: unpaid, paused and past grace too; there the whole portal helps, not a change to confirm."""
    subscription_id = await harness.subscribed("u1")
    harness.stripe.state.find("subscription", subscription_id)["status"] = status
    await harness.store.write(lambda conn: checkouts.clear(conn, "skai", "u1"))  # bought in another way
    link = await harness.checkout("u1", tier)
    assert (link.kind, sessions(harness)) == ("portal", [])
    assert harness.stripe.state.all("billing_portal.session")[-1]["flow"] is None


async def test_the_plan_one_has_leads_to_the_whole_portal(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    assert (await harness.checkout("u1", "pro", "month")).kind == "portal"
    assert harness.stripe.state.all("billing_portal.session")[-1]["flow"] is None


async def test_the_change_goes_to_the_customer_that_has_the_subscription(harness: Harness) -> None:
    """Even before any event has shown which of two that is."""
    await harness.buy("u1", "pro")
    paying = await harness.customer_id("u1")
    harness.stripe.state.add({**harness.stripe.state.objects["customer"][paying], "id": "cus_newer"})
    await harness.store.write(
        lambda conn: customers.add(conn, "skai", "u1", "cus_newer", None, harness.billing.work.now() + 1)
    )
    assert (await harness.checkout("u1", "enterprise")).kind == "portal"
    assert harness.stripe.state.all("billing_portal.session")[-1]["customer"] == paying


async def test_a_user_who_canceled_long_ago_gets_a_checkout(harness: Harness) -> None:
    harness.stripe.cancel(await harness.subscribed("u1"))
    await harness.catch_up()
    harness.move(40 * DAY)
    subscription_id = await harness.buy("u1", "enterprise")
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["stripe_subscription_id"]) == ("enterprise", subscription_id)
    assert len(people(harness)) == 1


def lose_answers(harness: Harness, path: str, effect: Any, then_silent: int) -> None:
    """Stripe carries out the request, but its answer is lost; then Stripe cannot be reached for a while."""
    harness.stripe.fault(effect, path, "POST")
    if then_silent:
        harness.stripe.fault("reset", path, "POST", times=then_silent)


async def insist(harness: Harness, **options: Any) -> str:
    """Ask until there is a link; each failure is a crash of ours."""
    for _ in range(5):
        try:
            return (await harness.checkout("u1", **options)).url
        except UpstreamFailed:
            await harness.restart()
    raise AssertionError("no link")


@pytest.mark.parametrize("then_silent", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("effect", ["lost_reply", "truncated", "reset"])
async def test_a_lost_answer_makes_no_second_customer(harness: Harness, effect: str, then_silent: int) -> None:
    lose_answers(harness, CUSTOMERS, effect, then_silent)
    url = await insist(harness)
    assert (len(people(harness)), [each["url"] for each in sessions(harness)]) == (1, [url])


@pytest.mark.parametrize("then_silent", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("effect", ["lost_reply", "truncated", "reset"])
async def test_a_lost_answer_leaves_no_second_session_open(harness: Harness, effect: str, then_silent: int) -> None:
    lose_answers(harness, SESSIONS, effect, then_silent)
    url = await insist(harness)
    assert (len(people(harness)), [each["url"] for each in sessions(harness)]) == (1, [url])


async def test_a_lost_answer_about_another_email_makes_no_second_customer(harness: Harness) -> None:
    lose_answers(harness, CUSTOMERS, "lost_reply", then_silent=2)
    with pytest.raises(UpstreamFailed):
        await harness.checkout("u1", email="old@example.com")
    await harness.checkout("u1", email="new@example.com")
    assert [each["email"] for each in people(harness)] == ["new@example.com"]


async def test_a_refused_email_does_not_stop_a_checkout(harness: Harness) -> None:
    assert (await harness.checkout("u1", email="no address")).kind == "checkout"
    assert [each["email"] for each in people(harness)] == [None]


@pytest.mark.parametrize("path", [CUSTOMERS, SESSIONS])
async def test_a_500_that_stripe_saved_under_our_key_does_not_stop_us_for_a_day(harness: Harness, path: str) -> None:
    harness.stripe.fault("status", path, "POST", status=500)
    link = None
    for _ in range(2):
        try:
            link = await harness.checkout("u1")
            break
        except UpstreamFailed:
            continue
    assert link is not None
    assert (link.kind, len(people(harness)), len(sessions(harness))) == ("checkout", 1, 1)


async def test_two_requests_at_once_make_one_customer_and_one_session(harness: Harness) -> None:
    links = await asyncio.gather(*(harness.checkout("u1") for _ in range(5)))
    assert len({link.url for link in links}) == 1
    assert (len(people(harness)), len(sessions(harness))) == (1, 1)


async def test_two_different_purchases_at_once_leave_one_session_open(harness: Harness) -> None:
    links = await asyncio.gather(*(harness.checkout("u1", tier) for tier in ("pro", "enterprise", "pro")))
    assert [each["url"] for each in sessions(harness)] == [links[-1].url]


async def test_a_session_that_is_paid_in_the_very_moment_it_should_expire_counts(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await harness.checkout("u1", "pro")
    real = harness.billing.stripe.transport.post

    async def paid_first(path: str, params: Any, **more: Any) -> Any:
        if path.endswith("/expire"):
            await harness.click(first.url, action="pay")
        return await real(path, params, **more)

    monkeypatch.setattr(harness.billing.stripe.transport, "post", paid_first)
    assert (await harness.checkout("u1", "enterprise")).kind == "portal"
    assert (len(sessions(harness)), len(sessions(harness, "complete"))) == (0, 1)


async def test_a_session_that_cannot_be_expired_is_not_joined_by_a_second(harness: Harness) -> None:
    await harness.checkout("u1", "pro")
    harness.stripe.fault("status", f"{SESSIONS}/.*/expire", "POST", status=400)
    with pytest.raises(UpstreamFailed):
        await harness.checkout("u1", "enterprise")
    assert len(sessions(harness)) == 1


async def test_a_session_that_stripe_does_not_know_is_replaced(harness: Harness) -> None:
    await harness.checkout("u1")
    harness.stripe.state.objects["checkout.session"].clear()
    assert (await harness.checkout("u1")).kind == "checkout"
    assert len(sessions(harness)) == 1


async def test_a_price_that_moved_is_bought_at_its_new_amount(harness: Harness) -> None:
    first = await harness.checkout("u1", "pro", "month")
    for price in harness.stripe.state.all("price"):
        price["lookup_key"] = None if price["lookup_key"] == "skai_pro_month" else price["lookup_key"]
    harness.stripe.add_price("prod_skai_pro", 2500, lookup_key="skai_pro_month", price_id="price_pro_2")
    second = await harness.checkout("u1", "pro", "month")
    assert second.url != first.url
    assert [each["amount_total"] for each in sessions(harness)] == [2500]


HOSTILE = ["a:b", "b", "a", "x" * 200, "é" * 200, "🦀", "a b", "{user_id}", "u1:0", "'; DROP TABLE customers; --"]


def test_t1_no_two_people_share_an_idempotency_key() -> None:
    lists = [("customer", app, user, 0) for app in ("a", "a:b", "skai", "s") for user in (*HOSTILE, "c", "b:c", "kai")]
    lists += [("customer", "a:b", "c", 0), ("customer", "a", "b:c", 0), ("customera", ":b", "c", 0)]
    different = set(lists)
    keys = {idempotency_key(*parts) for parts in different}
    assert len(keys) == len(different)
    assert all(len(key) <= 255 and key.isascii() and key.isprintable() for key in keys)
    for one, other in combinations(["skai", "u1", 11], 2):
        assert idempotency_key(str(one), str(other)) != idempotency_key(f"{one}{other}")
    assert idempotency_key("u", 1, 11) != idempotency_key("u", 11, 1)


@pytest.mark.parametrize("user_id", HOSTILE)
async def test_t1_a_strange_user_id_buys_like_any_other(harness: Harness, user_id: str) -> None:
    await harness.subscribed(user_id)
    assert people(harness)[0]["metadata"]["user_id"] == user_id
    for request in harness.stripe.api.log:
        assert request.idempotency_key is None or len(request.idempotency_key) <= 255
        assert user_id not in (request.idempotency_key or "") or len(user_id) < 3


@pytest.mark.parametrize("user_id", ["", "x" * 201, "a\r\nX-SK-Tier: pro", "a\x00", "\ud800", "a\u2028b", "\u202eb"])
async def test_t1_an_invalid_user_id_is_refused_without_a_request_to_stripe(harness: Harness, user_id: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await harness.checkout(user_id)
    assert refused.value.code == "invalid_user_id"
    assert list(harness.stripe.api.log) == []


@pytest.mark.parametrize(
    ("app_id", "tier", "interval", "error", "code"),
    [
        ("nobody", "pro", None, NotFound, "unknown_app"),
        ("skai", "gold", None, NotFound, "unknown_tier"),
        ("skai", "plus", None, NotFound, "unknown_tier"),
        ("skai", "free", None, InvalidInput, "tier_not_for_sale"),
        ("skai", "sovereign", None, InvalidInput, "tier_not_for_sale"),
        ("skai", "pro", "week", InvalidInput, "unknown_interval"),
        ("skai", "enterprise", "year", InvalidInput, "unknown_interval"),
    ],
)
async def test_what_is_not_for_sale_is_refused_and_says_why(
    harness: Harness, app_id: str, tier: str, interval: str | None, error: type[Exception], code: str
) -> None:
    with pytest.raises(error) as refused:
        await harness.checkout("u1", tier, interval, app_id)
    assert getattr(refused.value, "code", "") == code
    assert people(harness) == []


async def test_an_interval_that_only_stripe_knows_can_be_bought_by_name(harness: Harness) -> None:
    """The buyer's page shows Stripe's interval where apps.json names none, and sends it."""
    assert (await harness.checkout("u1", "enterprise", "month")).kind == "checkout"
    await harness.restart()
    assert (await harness.checkout("u2", "enterprise", "month")).kind == "checkout"


@pytest.mark.parametrize("tier", ["pro", "enterprise"])
async def test_a_price_that_stripe_does_not_sell_any_more_is_a_conflict(harness: Harness, tier: str) -> None:
    for price in harness.stripe.state.all("price"):
        price["active"] = False
    with pytest.raises(Conflict) as refused:
        await harness.checkout("u1", tier)
    assert refused.value.code == "price_missing"


async def test_the_same_user_of_two_apps_is_two_customers(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await harness.subscribed("u1", "plus", app_id="studio")
    assert await harness.customer_id("u1") != await harness.customer_id("u1", "studio")
    assert (await harness.tier("u1"), await harness.tier("u1", "studio")) == ("pro", "plus")


async def test_while_stripe_is_down_nothing_is_promised(harness: Harness) -> None:
    harness.stripe.fault("status", times=99, status=503)
    with pytest.raises(UpstreamFailed):
        await harness.checkout("u1")
    assert await harness.query(lambda conn: customers.of_user(conn, "skai", "u1")) == []


async def test_t16_a_customer_that_only_our_key_cannot_see_is_never_replaced(harness: Harness) -> None:
    await harness.checkout("u1")
    harness.stripe.state.objects["customer"].clear()
    with pytest.raises(UpstreamFailed):
        await harness.checkout("u1")
    assert people(harness) == []


def take_from_sale(tree: Any) -> None:
    """Pro is sold at another price from now on."""
    tree["apps"][0]["tiers"][1]["prices"] = [{"price_id": "price_pro_year"}]


async def test_a_session_that_cannot_be_expired_does_not_stop_the_others(harness: Harness) -> None:
    for user_id in ("u1", "u2", "u3"):
        await harness.checkout(user_id, "pro", "month")
    await harness.edit(take_from_sale)
    await resolve_prices(harness.billing)
    [first, *_] = [each["id"] for each in harness.stripe.state.all("checkout.session")]
    harness.stripe.fault("status", f"/v1/checkout/sessions/{first}/expire", "POST", times=99, status=422)
    assert await expire_withdrawn(harness.billing) == 2
    states = {each["id"]: each["status"] for each in harness.stripe.state.all("checkout.session")}
    assert [key for key, status in states.items() if status == "open"] == [first]
    assert {kind for kind, _ in await harness.alerts()} == {"checkout_refused"}


async def test_a_session_that_stripe_no_longer_has_counts_as_expired(harness: Harness) -> None:
    for user_id in ("u1", "u2"):
        await harness.checkout(user_id, "pro", "month")
    del harness.stripe.state.objects["checkout.session"][harness.stripe.state.all("checkout.session")[0]["id"]]
    await harness.edit(take_from_sale)
    await resolve_prices(harness.billing)
    assert await expire_withdrawn(harness.billing) == 2
    assert await expire_withdrawn(harness.billing) == 0
    assert await harness.alerts() == set()


async def test_a_price_that_stripe_lost_does_not_keep_another_on_sale(harness: Harness) -> None:
    await harness.checkout("u1", "pro", "month")

    def edit(tree: Any) -> None:
        tree["apps"][0]["tiers"][1]["prices"] = [{"price_id": "price_pro_year"}, {"price_id": "price_nowhere"}]

    await harness.edit(edit)
    await resolve_prices(harness.billing)
    assert await expire_withdrawn(harness.billing) == 1
