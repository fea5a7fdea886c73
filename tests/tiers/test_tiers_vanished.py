"""What Stripe lists no more is not what Stripe says is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.tiers.model import Entitlement, Reason, Subscription
from gateway.tiers.vanished import VANISHED, vanished

PREVIOUS = Entitlement("pro", Reason.ACTIVE, "subscription", "active", "cus_1", "sub_1", "price_pro")
LISTED = Subscription("sub_1", "cus_1", "canceled", (), 1, None, None, False, 2, None, None, "charge_automatically")


def test_the_subscription_behind_the_last_tier_is_remembered_when_it_is_not_listed() -> None:
    [remembered] = vanished(PREVIOUS, (), ("cus_1",))
    assert (remembered.subscription_id, remembered.customer_id, remembered.status) == ("sub_1", "cus_1", VANISHED)
    assert remembered.period_end_at is None


def test_an_end_that_was_known_stays_its_end() -> None:
    [remembered] = vanished(replace(PREVIOUS, then=((500, "free"),)), (), ("cus_1",))
    assert remembered.period_end_at == 500


@pytest.mark.parametrize(
    ("previous", "listed", "living"),
    [
        (None, (), ("cus_1",)),
        (PREVIOUS, (LISTED,), ("cus_1",)),
        (PREVIOUS, (), ()),
        (PREVIOUS, (), ("cus_2",)),
        (replace(PREVIOUS, source="grant"), (), ("cus_1",)),
        (replace(PREVIOUS, source="default", tier="free"), (), ("cus_1",)),
        (replace(PREVIOUS, subscription_id=None), (), ("cus_1",)),
    ],
    ids=["new", "listed", "deleted customer", "another customer", "grant", "never paid", "no subscription"],
)
def test_nothing_is_remembered_of(
    previous: Entitlement | None, listed: tuple[Subscription, ...], living: tuple[str, ...]
) -> None:
    assert vanished(previous, listed, living) == ()
