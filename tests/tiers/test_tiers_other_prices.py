"""Which subscriptions have to do with a tier, and what `other_prices` of an app declares."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers.test_tiers_decide import APP, DAY, KNOWN, NOW, invoice

from gateway.catalog.model import App, OtherPrice, Price
from gateway.tiers.candidates import is_tier_subscription
from gateway.tiers.decide import decide
from gateway.tiers.model import Invoice, Item, LastGoodTier, Subscription
from gateway.tiers.other_prices import has_only_other_prices, is_other_price

SELLING = replace(
    APP,
    other_prices=(
        OtherPrice(price_id="price_support"), OtherPrice(lookup_key="seat"), OtherPrice(product_id="prod_extras")
    ),
)  # fmt: skip


def item(price_id: str, lookup_key: str | None = None, product_id: str | None = None) -> Item:
    return Item(f"si_{price_id}", price_id, lookup_key, product_id, "month", 1, NOW + 10 * DAY)


PLAN, SUPPORT, SEAT, EXTRA = (
    item("price_pro"), item("price_support"), item("price_seat_2", "seat"), item("price_x", None, "prod_extras")
)  # fmt: skip
UNKNOWN = item("price_unheard_of")


def subscription(*items: Item, subscription_id: str = "sub_1", status: str = "active") -> Subscription:
    return Subscription(
        subscription_id, "cus_1", status, items, NOW - 30 * DAY, NOW + 10 * DAY, None, False, None, None, None,
        "charge_automatically",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (PLAN, False), (SUPPORT, True), (SEAT, True), (EXTRA, True), (UNKNOWN, False),
        (item("price_pro", None, "prod_extras"), False),  # a tier names this very price
        (item("price_pro_2024", None, "prod_extras"), False),  # it resolved for a tier once
        (item("price_pro_2024", "seat"), True),  # named by its own lookup key, which counts more than that
        (item("price_pro", "seat"), False),
    ],
)  # fmt: skip
def test_the_more_exact_word_decides_whether_a_price_gives_no_tier(one: Item, expected: bool) -> None:
    assert is_other_price(SELLING, one, KNOWN) is expected
    assert is_other_price(APP, one, KNOWN) is False


def test_a_declared_price_on_a_tiers_product_is_not_that_tier() -> None:
    """Known products give the tier of an old price (T15), but not of a declared other price."""
    seat = replace(SEAT, product_id="prod_pro")
    known = {**KNOWN, "prod_pro": "pro"}
    assert decide(SELLING, [subscription(seat)], (), (), known, {}, NOW).tier == "free"
    assert decide(APP, [subscription(seat)], (), (), known, {}, NOW).tier == "pro"


@pytest.mark.parametrize("others", [(SEAT,), (SUPPORT, EXTRA)])
def test_the_tier_ends_when_only_other_prices_are_left(others: tuple[Item, ...]) -> None:
    before = decide(SELLING, [subscription(PLAN, *others)], (), (), KNOWN, {}, NOW)
    assert (before.tier, before.concerns) == ("pro", ())
    after = decide(SELLING, [subscription(*others)], (), (), KNOWN, {}, NOW)
    assert (after.tier, after.source, after.concerns) == ("free", "default", ())


def test_an_unknown_price_beside_a_declared_one_is_still_alerted_by_its_own_name() -> None:
    [concern] = decide(SELLING, [subscription(SEAT, UNKNOWN)], (), (), KNOWN, {}, NOW).concerns
    assert concern.kind == "unknown_price"
    assert "price_unheard_of" in concern.message
    assert "price_seat_2" not in concern.message


@pytest.mark.parametrize("app", [APP, SELLING])
@pytest.mark.parametrize("other", [SUPPORT, SEAT, EXTRA])
def test_a_subscription_to_something_else_is_no_duplicate(app: App, other: Item) -> None:
    """Declared or not, a support plan raises no alert to cancel and refund it."""
    both = [subscription(PLAN), replace(subscription(other, subscription_id="sub_2"), created_at=NOW)]
    paid = (invoice("paid", at=NOW, paid=900, subscription_id="sub_2"),)
    found = decide(app, both, paid, (), KNOWN, {}, NOW)
    assert found.tier == "pro"
    assert "duplicate_subscription" not in {concern.kind for concern in found.concerns}


def test_a_second_subscription_to_a_tier_is_a_duplicate_as_before() -> None:
    both = [subscription(PLAN), subscription(PLAN, SEAT, subscription_id="sub_2")]
    found = decide(SELLING, both, (), (), KNOWN, {}, NOW)
    assert {concern.kind for concern in found.concerns} == {"duplicate_subscription"}


def good(subscription_id: str = "sub_1") -> LastGoodTier:
    return LastGoodTier(subscription_id, "cus_1", "pro", "price_pro", True, None, "active")


PAID = replace(invoice("paid", at=NOW - DAY, paid=2000), charged=(("price_pro", None),))
PAID_FOR_SUPPORT = replace(PAID, charged=(("price_support_2", None),))


@pytest.mark.parametrize(
    ("items", "invoices", "last_good", "expected"),
    [
        ((PLAN,), (), None, True), ((PLAN, SEAT), (), None, True), ((UNKNOWN,), (), None, False),
        ((UNKNOWN,), (), good(), True), ((UNKNOWN,), (PAID,), None, True),
        ((UNKNOWN,), (PAID_FOR_SUPPORT,), None, False),
        ((UNKNOWN,), (replace(PAID, subscription_id="sub_2"),), None, False), ((SEAT,), (PAID,), good(), False),
        ((SEAT, UNKNOWN), (), good(), True), ((), (), good(), True), ((), (), None, False),
    ],
)  # fmt: skip
def test_a_subscription_counts_by_a_tiers_price_or_by_what_it_gave(
    items: tuple[Item, ...], invoices: tuple[Invoice, ...], last_good: LastGoodTier | None, expected: bool
) -> None:
    assert is_tier_subscription(SELLING, subscription(*items), invoices, KNOWN, last_good) is expected


ITEMS = st.lists(st.sampled_from([PLAN, SUPPORT, SEAT, EXTRA, UNKNOWN, item("price_ent")]), max_size=4, unique=True)


@given(st.lists(ITEMS, max_size=3), ITEMS)
def test_a_subscription_to_other_prices_changes_no_decision(existing: list[list[Item]], added: list[Item]) -> None:
    """Law: beside any subscriptions, one with nothing but declared prices makes no difference at all."""
    others = [each for each in added if is_other_price(SELLING, each, KNOWN)] or [SEAT]
    mine = [subscription(*items, subscription_id=f"sub_{number}") for number, items in enumerate(existing)]
    beside = subscription(*others, subscription_id="sub_other")
    assert has_only_other_prices(SELLING, beside, KNOWN)
    alone = decide(SELLING, mine, (), (), KNOWN, {}, NOW)
    assert decide(SELLING, [beside, *mine], (), (), KNOWN, {}, NOW) == alone


def test_a_price_named_by_a_tiers_lookup_key_is_that_tiers() -> None:
    tiers = (APP.tiers[0], replace(APP.tiers[1], prices=(Price(lookup_key="pro_month"),)), *APP.tiers[2:])
    app = replace(SELLING, tiers=tiers)
    moved = item("price_new", "pro_month", "prod_extras")
    assert is_other_price(app, moved, {}) is False
    assert decide(app, [subscription(moved)], (), (), {}, {}, NOW).tier == "pro"
