"""What Stripe lists no more is not what Stripe says is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_tiers_decide import DAY, NOW, decided, good, subscription

from gateway.tiers.missing_subscriptions import missing_subscriptions
from gateway.tiers.model import NO_LONGER_LISTED, LastGoodTier, Reason, Subscription

GOOD = LastGoodTier("sub_1", "cus_1", "pro", "price_pro", True, None, "active")
LISTED = Subscription("sub_1", "cus_1", "canceled", (), 1, None, None, False, 2, None, None, "charge_automatically")


def test_a_subscription_that_gave_a_tier_is_remembered_when_it_is_not_listed() -> None:
    [remembered] = missing_subscriptions([GOOD], (), ("cus_1",))
    assert (remembered.subscription_id, remembered.customer_id, remembered.status) == (
        "sub_1",
        "cus_1",
        NO_LONGER_LISTED,
    )
    found = decided(remembered, last_good={"sub_1": GOOD})
    assert (found.tier, found.reason, found.status, found.until) == ("pro", Reason.KEPT, "active", None)
    assert [each.kind for each in found.concerns] == ["subscription_missing"]


def test_an_end_that_was_known_stays_its_end() -> None:
    ending = replace(subscription(), cancel_at=NOW + DAY)
    before = good(ending)
    gone = missing_subscriptions(before.values(), (), ("cus_1",))
    assert decided(*gone, last_good=before).upcoming_changes == ((NOW + DAY, "free"),)
    assert decided(*gone, last_good=before, now=NOW + DAY).tier == "free"


@pytest.mark.parametrize(
    ("remembered", "listed", "living"),
    [
        ((), (), ("cus_1",)),
        ((GOOD,), (LISTED,), ("cus_1",)),
        ((GOOD,), (), ()),
        ((GOOD,), (), ("cus_2",)),
        ((replace(GOOD, gives=False),), (), ("cus_1",)),
    ],
    ids=["new", "listed", "deleted customer", "another customer", "gave nothing any more"],
)
def test_nothing_is_remembered_of(
    remembered: tuple[LastGoodTier, ...], listed: tuple[Subscription, ...], living: tuple[str, ...]
) -> None:
    assert missing_subscriptions(remembered, listed, living) == ()
