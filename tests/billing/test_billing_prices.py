"""Prices: what apps.json names is asked of Stripe; what differs or is missing is an alert until it is not."""

from __future__ import annotations

from typing import Any

import pytest
from servers.world import World

from gateway.billing.prices import know_prices, load_known_prices, resolve_prices
from gateway.errors import UpstreamFailed
from gateway.store import alerts, prices


def price(world: World, price_id: str) -> dict[str, Any]:
    return world.stripe.world.find("price", price_id)


async def test_every_price_that_ever_resolved_is_kept(world: World) -> None:
    known = await world.query(prices.known)
    assert {each.price_id: (each.app_id, each.tier, each.lookup_key) for each in known.values()} == {
        "price_pro_month": ("skai", "pro", "skai_pro_month"),
        "price_pro_year": ("skai", "pro", "skai_pro_year"),
        "price_123": ("skai", "enterprise", None),
        "price_plus": ("studio", "plus", "studio_plus"),
    }
    price(world, "price_pro_month")["lookup_key"] = None
    world.stripe.add_price("prod_skai_pro", 2500, lookup_key="skai_pro_month", price_id="price_pro_2")
    await resolve_prices(world.billing)
    await world.restart()
    assert world.billing.known_prices["skai"] == {
        "price_pro_month": "pro",
        "price_pro_year": "pro",
        "price_123": "enterprise",
        "price_pro_2": "pro",
    }
    assert world.billing.known_prices["studio"] == {"price_plus": "plus"}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("unit_amount", 2001, "unit_amount is 2001 at Stripe, 2000 in apps.json"),
        ("currency", "eur", "currency is 'eur' at Stripe, 'usd' in apps.json"),
        ("recurring", {"interval": "year"}, "interval is 'year' at Stripe, 'month' in apps.json"),
        ("recurring", {"interval": "month", "interval_count": 3}, "interval_count is 3 at Stripe, 1 in apps.json"),
    ],
)
async def test_what_stripe_charges_otherwise_than_we_say_is_alerted(
    world: World, field: str, value: object, said: str
) -> None:
    real = price(world, "price_pro_month")[field]
    price(world, "price_pro_month")[field] = value
    await resolve_prices(world.billing)
    assert [each.message for each in await world.query(alerts.live)] == [said]
    assert await world.alerts() == {("price_differs", "skai/pro/skai_pro_month")}
    price(world, "price_pro_month")[field] = real
    await resolve_prices(world.billing)
    assert await world.alerts() == set()


@pytest.mark.parametrize(
    ("price_id", "name"), [("price_pro_month", "pro/skai_pro_month"), ("price_123", "enterprise/price_123")]
)
async def test_a_price_that_cannot_be_sold_is_alerted_until_it_can(world: World, price_id: str, name: str) -> None:
    price(world, price_id)["active"] = False
    await resolve_prices(world.billing)
    assert await world.alerts() == {("price_missing", f"skai/{name}")}
    price(world, price_id)["active"] = True
    await resolve_prices(world.billing)
    assert await world.alerts() == set()


async def test_one_wrong_price_hides_no_other(world: World) -> None:
    price(world, "price_pro_month")["active"] = False
    price(world, "price_pro_year")["unit_amount"] = 1
    price(world, "price_plus")["active"] = False
    await resolve_prices(world.billing)
    assert await world.alerts() == {
        ("price_missing", "skai/pro/skai_pro_month"),
        ("price_differs", "skai/pro/skai_pro_year"),
        ("price_missing", "studio/plus/studio_plus"),
    }


async def test_a_typo_that_was_mended_is_nobodys_concern_any_more(world: World) -> None:
    def typo(apps: Any) -> None:
        apps["apps"][0]["tiers"][1]["prices"][0]["lookup_key"] = "skai_pro_mnth"

    def mended(apps: Any) -> None:
        apps["apps"][0]["tiers"][1]["prices"][0]["lookup_key"] = "skai_pro_month"

    await world.edit(typo)
    await resolve_prices(world.billing)
    assert await world.alerts() == {("price_missing", "skai/pro/skai_pro_mnth")}
    await world.edit(mended)
    await resolve_prices(world.billing)
    assert await world.alerts() == set()


@pytest.mark.parametrize("effect", ["status", "reset", "rubbish", "truncated"])
async def test_while_stripe_cannot_be_asked_nothing_that_was_known_is_lost(world: World, effect: Any) -> None:
    before = world.billing.known_prices
    world.stripe.fault(effect, times=99, status=503)
    with pytest.raises(UpstreamFailed):
        await resolve_prices(world.billing)
    assert (world.billing.known_prices, await world.alerts()) == (before, set())


async def test_what_is_learned_while_the_store_is_read_stays_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.store.read

    async def slow_read(query: Any) -> Any:
        found = await real(query)
        know_prices(world.billing, "skai", {"price_just_now": "pro"})
        return found

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "read", slow_read)
        await load_known_prices(world.billing)
    assert world.billing.known_prices["skai"]["price_just_now"] == "pro"
