"""Prices of apps.json are resolved at Stripe; one that differs or is missing has an alert until it is corrected."""

from __future__ import annotations

from typing import Any

import pytest
from servers.harness import Harness

from gateway.billing.checkout.prices import load_known_prices, resolve_prices
from gateway.errors import UpstreamFailed
from gateway.store import alerts, prices


def price(harness: Harness, price_id: str) -> dict[str, Any]:
    return harness.stripe.state.find("price", price_id)


async def test_every_price_that_ever_resolved_is_kept(harness: Harness) -> None:
    known = await harness.query(prices.known)
    assert {each.price_id: (each.app_id, each.tier, each.lookup_key) for each in known.values()} == {
        "price_pro_month": ("skai", "pro", "skai_pro_month"),
        "price_pro_year": ("skai", "pro", "skai_pro_year"),
        "price_123": ("skai", "enterprise", None),
        "price_plus": ("studio", "plus", "studio_plus"),
    }
    price(harness, "price_pro_month")["lookup_key"] = None
    harness.stripe.add_price("prod_skai_pro", 2500, lookup_key="skai_pro_month", price_id="price_pro_2")
    await resolve_prices(harness.billing)
    await harness.restart()
    assert harness.billing.prices.known_prices["skai"] == {
        "price_pro_month": "pro",
        "price_pro_year": "pro",
        "price_123": "enterprise",
        "price_pro_2": "pro",
    }
    assert harness.billing.prices.known_prices["studio"] == {"price_plus": "plus"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unit_amount", 2001, "unit_amount is 2001 at Stripe, 2000 in apps.json"),
        ("currency", "eur", "currency is 'eur' at Stripe, 'usd' in apps.json"),
        ("recurring", {"interval": "year"}, "interval is 'year' at Stripe, 'month' in apps.json"),
        ("recurring", {"interval": "month", "interval_count": 3}, "interval_count is 3 at Stripe, 1 in apps.json"),
    ],
)
async def test_what_stripe_charges_otherwise_than_we_say_is_alerted(
    harness: Harness, field: str, value: object, message: str
) -> None:
    real = price(harness, "price_pro_month")[field]
    price(harness, "price_pro_month")[field] = value
    await resolve_prices(harness.billing)
    assert [each.message for each in await harness.query(alerts.live)] == [message]
    assert await harness.alerts() == {("price_differs", "skai/pro/skai_pro_month")}
    price(harness, "price_pro_month")[field] = real
    await resolve_prices(harness.billing)
    assert await harness.alerts() == set()


@pytest.mark.parametrize(
    ("price_id", "name"), [("price_pro_month", "pro/skai_pro_month"), ("price_123", "enterprise/price_123")]
)
async def test_a_price_that_cannot_be_sold_is_alerted_until_it_can(harness: Harness, price_id: str, name: str) -> None:
    price(harness, price_id)["active"] = False
    await resolve_prices(harness.billing)
    assert await harness.alerts() == {("price_missing", f"skai/{name}")}
    price(harness, price_id)["active"] = True
    await resolve_prices(harness.billing)
    assert await harness.alerts() == set()


async def test_one_wrong_price_hides_no_other(harness: Harness) -> None:
    price(harness, "price_pro_month")["active"] = False
    price(harness, "price_pro_year")["unit_amount"] = 1
    price(harness, "price_plus")["active"] = False
    await resolve_prices(harness.billing)
    assert await harness.alerts() == {
        ("price_missing", "skai/pro/skai_pro_month"),
        ("price_differs", "skai/pro/skai_pro_year"),
        ("price_missing", "studio/plus/studio_plus"),
    }


async def test_the_alert_of_a_corrected_price_is_resolved(harness: Harness) -> None:
    def typo(apps: Any) -> None:
        apps["apps"][0]["tiers"][1]["prices"][0]["lookup_key"] = "skai_pro_mnth"

    def corrected(apps: Any) -> None:
        apps["apps"][0]["tiers"][1]["prices"][0]["lookup_key"] = "skai_pro_month"

    await harness.edit(typo)
    await resolve_prices(harness.billing)
    assert await harness.alerts() == {("price_missing", "skai/pro/skai_pro_mnth")}
    await harness.edit(corrected)
    await resolve_prices(harness.billing)
    assert await harness.alerts() == set()


@pytest.mark.parametrize("effect", ["status", "reset", "rubbish", "truncated"])
async def test_while_stripe_does_not_answer_known_prices_are_kept(harness: Harness, effect: Any) -> None:
    before = harness.billing.prices.known_prices
    harness.stripe.fault(effect, times=99, status=503)
    with pytest.raises(UpstreamFailed):
        await resolve_prices(harness.billing)
    assert (harness.billing.prices.known_prices, await harness.alerts()) == (before, set())


async def test_what_is_learned_while_the_store_is_read_stays_known(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = harness.store.read

    async def slow_read(query: Any) -> Any:
        found = await real(query)
        harness.billing.prices.add_known("skai", {"price_just_now": "pro"})
        return found

    with monkeypatch.context() as patched:
        patched.setattr(harness.store, "read", slow_read)
        await load_known_prices(harness.billing)
    assert harness.billing.prices.known_prices["skai"]["price_just_now"] == "pro"
