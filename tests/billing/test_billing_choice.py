"""Which of a tier's prices is sold: by interval, count and currency, and never another one than is shown."""

from __future__ import annotations

from typing import Any

import pytest
from servers.harness import Harness

from gateway.billing.checkout.checkout import CheckoutLink, open_checkout
from gateway.billing.checkout.offer import offer
from gateway.billing.checkout.price_choice import PriceChoice
from gateway.billing.checkout.prices import resolve_prices
from gateway.errors import Conflict, InvalidInput

MANY = [
    ("price_pro_month", 2000, "usd", "month", 1), ("price_pro_quarter", 5400, "usd", "month", 3),
    ("price_pro_euro", 1900, "eur", "month", 1), ("price_pro_year", 20000, "usd", "year", 1),
]  # fmt: skip


async def many_prices(harness: Harness) -> None:
    """Pro by four prices, of which Stripe knows the intervals."""

    def edit(tree: Any) -> None:
        tree["apps"][0]["tiers"][1]["prices"] = [{"price_id": price_id} for price_id, *_ in MANY]

    for price_id, amount, currency, interval, count in MANY[1:3]:
        harness.stripe.add_price("prod_skai_pro", amount, currency, interval, count, price_id=price_id)
    await harness.edit(edit)
    await resolve_prices(harness.billing)


async def sold(harness: Harness, choice: PriceChoice, user_id: str = "u1") -> str:
    """The price id in the session that is opened."""
    link: CheckoutLink = await open_checkout(harness.billing, "skai", user_id, None, "pro", choice)
    (session,) = [each for each in harness.stripe.state.all("checkout.session") if each["url"] == link.url]
    return str(session["_line_items"][0]["price"])


async def test_every_price_shown_is_sold_by_its_key_and_no_other(harness: Harness) -> None:
    await many_prices(harness)
    shown = (await offer(harness.billing, "skai", "u1"))["tiers"][1]["prices"]  # type: ignore[index]
    assert [
        (each["price"], each["unit_amount"], each["currency"], each["interval"], each["interval_count"])
        for each in shown
    ] == MANY
    for number, each in enumerate(shown):
        assert await sold(harness, PriceChoice(price=each["price"]), f"u{number}") == each["price"]


@pytest.mark.parametrize(
    ("choice", "price_id"),
    [
        (PriceChoice(), "price_pro_month"),
        (PriceChoice(interval="year"), "price_pro_year"),
        (PriceChoice(interval="month", interval_count=3), "price_pro_quarter"),
        (PriceChoice(interval="month", currency="eur"), "price_pro_euro"),
        (PriceChoice(interval="month", interval_count=1, currency="usd"), "price_pro_month"),
        (PriceChoice(currency="eur"), "price_pro_euro"),
    ],
)
async def test_what_fits_one_price_only_sells_it(harness: Harness, choice: PriceChoice, price_id: str) -> None:
    await many_prices(harness)
    assert await sold(harness, choice) == price_id


@pytest.mark.parametrize(
    ("choice", "count"),
    [(PriceChoice(interval="month"), 3), (PriceChoice(currency="usd"), 3),
     (PriceChoice(interval="month", interval_count=1), 2)],
)  # fmt: skip
async def test_what_fits_several_is_refused_and_lists_them(harness: Harness, choice: PriceChoice, count: int) -> None:
    await many_prices(harness)
    with pytest.raises(InvalidInput) as refused:
        await sold(harness, choice)
    assert refused.value.code == "ambiguous_price"
    choices = refused.value.fields["choices"]
    assert isinstance(choices, list)
    assert len(choices) == count
    assert all(each["price"] in {price_id for price_id, *_ in MANY} for each in choices)
    assert harness.stripe.state.all("checkout.session") == []


async def test_a_key_of_another_tier_or_app_is_refused(harness: Harness) -> None:
    for key in ("price_123", "price_plus", "studio_plus", "nothing"):
        with pytest.raises(InvalidInput) as refused:
            await sold(harness, PriceChoice(price=key))
        assert refused.value.code == "unknown_price"


async def test_a_price_that_moved_since_it_was_shown_is_not_sold(harness: Harness) -> None:
    """The person clicked on $20; the lookup key leads to $25 now."""
    shown = (await offer(harness.billing, "skai", "u1"))["tiers"][1]["prices"][0]["price"]  # type: ignore[index]
    assert shown == "price_pro_month"
    harness.stripe.state.find("price", shown)["lookup_key"] = None
    harness.stripe.add_price("prod_skai_pro", 2500, lookup_key="skai_pro_month", price_id="price_pro_2")
    for _ in range(2):  # before and after we have heard of it
        with pytest.raises(Conflict) as refused:
            await sold(harness, PriceChoice(price=shown))
        assert refused.value.code == "price_changed"
        await resolve_prices(harness.billing)
    assert await sold(harness, PriceChoice(price="skai_pro_month")) == "price_pro_2"


async def test_a_price_missing_at_stripe_is_not_offered_and_the_buyer_gets_no_details(
    harness: Harness,
) -> None:
    harness.stripe.state.find("price", "price_pro_month")["active"] = False
    with pytest.raises(Conflict) as refused:
        await sold(harness, PriceChoice(price="price_pro_month"))
    assert (refused.value.code, refused.value.message) == ("price_missing", "Pro is not for sale right now.")
    assert await harness.alerts() == {("price_missing", "skai/pro/skai_pro_month")}
    pro = (await offer(harness.billing, "skai", "u1"))["tiers"][1]  # type: ignore[index]
    assert [each["price"] for each in pro["prices"]] == ["price_pro_year"]
    assert pro["for_sale"] is True
    harness.stripe.state.find("price", "price_pro_year")["active"] = False
    await resolve_prices(harness.billing)
    pro = (await offer(harness.billing, "skai", "u1"))["tiers"][1]  # type: ignore[index]
    assert (pro["prices"], pro["for_sale"]) == ([], False)
    harness.stripe.state.find("price", "price_pro_month")["active"] = True
    assert await sold(harness, PriceChoice(price="skai_pro_month")) == "price_pro_month"
    pro = (await offer(harness.billing, "skai", "u1"))["tiers"][1]  # type: ignore[index]
    assert pro["for_sale"] is True


async def test_only_declared_limits_are_advertised(harness: Harness) -> None:
    def edit(tree: Any) -> None:
        tree["apps"][0].pop("litellm")
        tree["apps"][0]["tiers"][0].pop("limits")
        tree["apps"][0]["tiers"][1]["limits"] = {"rpm_limit": 60, "tpm_limit": None}
        tree["apps"][0]["tiers"][2]["limits"] = {"max_budget": 5}

    await harness.edit(edit)
    tiers: Any = (await offer(harness.billing, "skai", "u1"))["tiers"]
    assert [tier["limits"] for tier in tiers] == [
        {},
        {"rpm_limit": 60, "tpm_limit": None},
        {"max_budget": 5, "budget_duration": "1d"},
    ]


@pytest.mark.parametrize(
    "at_stripe", [{"unit_amount": 2500}, {"currency": "eur"}, {"interval_count": 3}, {"interval": "year"}]
)
async def test_a_price_shown_before_stripe_answered_is_not_sold_at_another_amount(
    harness: Harness, at_stripe: Any
) -> None:
    """While Stripe is out of reach, the page shows the figures of apps.json."""

    def edit(tree: Any) -> None:
        stated = {"unit_amount": 2000, "currency": "usd", "interval": "month"}
        tree["apps"][0]["tiers"][1]["prices"] = [{"price_id": "price_odd", **stated}]

    await harness.edit(edit)
    figures = {"unit_amount": 2000, "currency": "usd", "interval": "month", "interval_count": 1, **at_stripe}
    harness.stripe.add_price("prod_skai_pro", **figures, price_id="price_odd")
    [shown] = (await offer(harness.billing, "skai", "u1"))["tiers"][1]["prices"]  # type: ignore[index]
    assert (shown["unit_amount"], shown["currency"], shown["interval"]) == (2000, "usd", "month")
    clicked = PriceChoice(**{name: value for name, value in shown.items() if name != "decimals"})
    with pytest.raises(Conflict) as refused:
        await sold(harness, clicked)
    assert refused.value.code == "price_changed"
    [shown] = (await offer(harness.billing, "skai", "u1"))["tiers"][1]["prices"]  # type: ignore[index]
    clicked = PriceChoice(**{name: value for name, value in shown.items() if name != "decimals"})
    assert await sold(harness, clicked) == "price_odd"
