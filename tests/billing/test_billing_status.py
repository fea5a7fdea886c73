"""The status shown to apps, operators and buyers: exact, complete, without secrets and internal tiers."""

from __future__ import annotations

import pytest
from servers.harness import DAY, START, Harness

from gateway.billing.checkout.offer import offer
from gateway.billing.refresh.grants import give
from gateway.billing.refresh.status import explain
from gateway.errors import InvalidInput, NotFound

FREE_LIMITS = {"max_budget": 1, "budget_duration": "1d", "tpm_limit": 1000, "rpm_limit": 10, "models": None}
PRO_LIMITS = {"max_budget": 10, "budget_duration": "1d", "tpm_limit": 5000, "rpm_limit": 60, "models": None}
ENTERPRISE_LIMITS = {"max_budget": 50, "budget_duration": "1d", "tpm_limit": 9000, "rpm_limit": 120, "models": None}


async def test_somebody_unknown_has_the_default_tier_and_nulls(harness: Harness) -> None:
    assert await harness.status("never-seen") == {
        "app_id": "skai",
        "user_id": "never-seen",
        "tier": "free",
        "stripe_customer_id": None,
        "stripe_subscription_id": None,
        "status": None,
        "reason": "default",
        "source": "default",
        "until": None,
        "then": [],
        "ends_at": None,
        "period_end": None,
        "renews": None,
        "pending_tier": None,
        "limits": FREE_LIMITS,
        "features": [],
    }


async def test_the_status_of_a_payer_describes_the_subscription(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    assert await harness.status("u1") == {
        "app_id": "skai",
        "user_id": "u1",
        "tier": "pro",
        "stripe_customer_id": await harness.customer_id("u1"),
        "stripe_subscription_id": subscription_id,
        "status": "active",
        "reason": "active",
        "source": "subscription",
        "until": None,
        "then": [],
        "ends_at": None,
        "period_end": harness.stripe.state.find("subscription", subscription_id)["items"]["data"][0][
            "current_period_end"
        ],
        "renews": True,
        "pending_tier": None,
        "limits": PRO_LIMITS,
        "features": ["images"],
    }


async def test_a_downgrade_that_the_portal_scheduled_is_pending_until_it_comes(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "enterprise")
    link = await harness.checkout("u1", "pro")
    assert link.kind == "portal"
    click = {"action": "change_plan", "price": "price_pro_month", "subscription": subscription_id}
    assert await harness.click(link.url, **click) == 303
    await harness.catch_up()
    status = await harness.status("u1")
    at = status["period_end"]
    assert (status["tier"], status["pending_tier"], status["renews"]) == ("enterprise", {"at": at, "tier": "pro"}, True)
    harness.move(at + 3700 - harness.clock.now)
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["pending_tier"], status["period_end"] > at) == ("pro", None, True)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_schedule_that_cannot_be_read_keeps_no_news_away(harness: Harness, status: int) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.stripe.state.find("subscription", subscription_id)["schedule"] = "sub_sched_1"
    harness.stripe.fault("status", "/v1/subscription_schedules/.*", status=status, times=100)
    harness.stripe.fail_next_renewal(subscription_id)
    await harness.catch_up()
    shown = await harness.status("u1")
    assert (shown["status"], shown["pending_tier"], await harness.alerts()) == ("past_due", None, set())


async def test_what_was_canceled_does_not_renew(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    await harness.billing.stripe.transport.post(f"/v1/subscriptions/{subscription_id}", {"cancel_at_period_end": True})
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["renews"], status["period_end"]) == ("pro", False, status["ends_at"])


async def test_who_has_only_been_to_the_checkout_has_a_customer(harness: Harness) -> None:
    await harness.checkout("u1")
    status = await harness.status("u1")
    assert (status["tier"], status["stripe_customer_id"]) == ("free", await harness.customer_id("u1"))


async def test_a_canceled_subscription_says_when_it_ended(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.move(DAY)
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["status"], status["reason"], status["ends_at"], status["source"]) == (
        "free",
        "canceled",
        "canceled",
        START + DAY,
        "default",
    )


@pytest.mark.parametrize(
    "query",
    [Harness.status, lambda harness, *user: explain(harness.billing.work, harness.billing.apps, user[1], user[0])],
)
async def test_an_unknown_app_and_an_impossible_user_are_refused(harness: Harness, query: object) -> None:
    with pytest.raises(NotFound) as unknown:
        await query(harness, "u1", "nobody")  # type: ignore[operator]  # one of the two functions above
    assert unknown.value.code == "unknown_app"
    with pytest.raises(InvalidInput):
        await query(harness, "a\nb", "skai")  # type: ignore[operator]  # likewise


async def test_explain_shows_what_is_behind_the_tier(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    events = harness.events()
    mine = [each for each in events if each["data"]["object"].get("customer")]
    await harness.deliver(events)
    await harness.settle()
    harness.move(60)
    harness.stripe.cancel(subscription_id)
    [ended] = harness.events()
    await harness.deliver([ended])
    await harness.settle()
    explained = await explain(harness.billing.work, harness.billing.apps, "skai", "u1")
    assert explained["tier"] == "free"
    shown = explained["changes"]
    assert isinstance(shown, list)
    assert [(each["from"], each["to"], each["reason"], each["at"]) for each in shown] == [
        ("pro", "free", "canceled", START + 60),
        (None, "pro", "active", START),
    ]
    assert len({each["change_id"] for each in shown}) == 2
    events = explained["events"]
    assert isinstance(events, list)
    assert events[0] == {
        "received_at": START + 60,
        "event_id": ended["id"],
        "type": "customer.subscription.deleted",
        "state": "handled",
    }
    assert {each["event_id"] for each in events} >= {each["id"] for each in (*mine, ended)}
    provisioning = explained["provisioning"]
    assert isinstance(provisioning, list)
    [job] = provisioning
    assert (job["kind"], job["state"], job["attempts"], job["error"]) == ("litellm", "done", 0, "")
    assert job["answer"]["answer"]["budget_id"] == "skai.free"


async def test_explain_shows_no_events_of_another_user(harness: Harness) -> None:
    await harness.subscribed("u1")
    await harness.subscribed("u1", "plus", app_id="studio")
    explained = await explain(harness.billing.work, harness.billing.apps, "skai", "u2")
    assert (explained["changes"], explained["events"], explained["provisioning"]) == ([], [], [])


async def test_the_offer_shows_what_is_for_sale_at_stripes_prices(harness: Harness) -> None:
    for price in harness.stripe.state.all("price"):
        price["unit_amount"] += 1 if price["id"] == "price_pro_month" else 0
    await harness.checkout("u1")
    declared = [
        {name: value for name, value in limits.items() if value is not None}
        for limits in (FREE_LIMITS, PRO_LIMITS, ENTERPRISE_LIMITS)
    ]
    usd = {"currency": "usd", "decimals": 2, "interval_count": 1}
    assert await offer(harness.billing, "skai", "u1") == {
        "app": {"id": "skai", "name": "SKAI", "url": "https://chat.example.com/"},
        "user_id": "u1",
        "current": {
            "tier": "free",
            "status": None,
            "source": "default",
            "until": None,
            "ends_at": None,
            "period_end": None,
            "renews": None,
        },
        "pending": None,
        "current_name": "Free",
        "subscribed": False,
        "has_customer": True,
        "tiers": [
            {"id": "free", "name": "Free", "features": [], "limits": declared[0], "prices": [], "for_sale": False},
            {
                "id": "pro",
                "name": "Pro",
                "features": ["images"],
                "limits": declared[1],
                "prices": [
                    {"price": "price_pro_month", "unit_amount": 2001, "interval": "month", **usd},
                    {"price": "price_pro_year", "unit_amount": 20000, "interval": "year", **usd},
                ],
                "for_sale": True,
            },
            {
                "id": "enterprise",
                "name": "Enterprise",
                "features": ["images", "sso"],
                "limits": declared[2],
                "prices": [{"price": "price_123", "unit_amount": 10000, "interval": "month", **usd}],
                "for_sale": True,
            },
        ],
    }


async def test_the_offer_to_somebody_on_an_internal_tier_names_it_but_sells_it_not(harness: Harness) -> None:
    catalog = harness.billing.apps.catalog
    await harness.billing.work.write(lambda tx: give(tx, catalog, "skai", "u1", "sovereign", "founder", None))
    await harness.settle()
    shown = await offer(harness.billing, "skai", "u1")
    assert (shown["current_name"], shown["subscribed"], shown["has_customer"]) == ("Sovereign", False, False)
    tiers = shown["tiers"]
    assert isinstance(tiers, list)
    assert [each["id"] for each in tiers] == ["free", "pro", "enterprise"]


async def test_without_stripe_the_offer_shows_what_apps_json_says(harness: Harness) -> None:
    await harness.restart()  # nothing is resolved yet
    harness.stripe.fault("status", times=99, status=503)
    tiers = (await offer(harness.billing, "skai", "u1"))["tiers"]
    assert isinstance(tiers, list)
    assert tiers[1]["prices"][0] == {
        "price": "skai_pro_month", "unit_amount": 2000, "currency": "usd", "decimals": 2, "interval": "month",
        "interval_count": 1,
    }  # fmt: skip
    unknown = dict.fromkeys(("unit_amount", "currency", "decimals", "interval", "interval_count"))
    assert tiers[2]["prices"] == [{"price": "price_123", **unknown}]
