"""The tier decision: Stripe's statuses by hand, then the stories around grace, ends, grants and the unknown."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.model import App, Limits, Price, Tier
from gateway.tiers.decide import decide
from gateway.tiers.model import Entitlement, Grant, Invoice, Item, Reason, Subscription

NOW = 1_800_000_000
DAY = 86_400


def tier(tier_id: str, rank: int, *price_ids: str, internal: bool = False) -> Tier:
    prices = tuple(Price(price_id=price_id) for price_id in price_ids)
    return Tier(tier_id, tier_id.title(), rank, prices, (), Limits(), internal)


APP = App(
    app_id="skai",
    name="SKAI",
    hosts=("chat.example.com",),
    upstream="http://open-webui:8080",
    api_key=None,
    identity=(),
    litellm=None,
    success_url="https://chat.example.com/",
    cancel_url="https://chat.example.com/",
    grace_seconds=7 * DAY,
    anonymous="tag",
    tiers=(
        tier("free", 0),
        tier("pro", 1, "price_pro"),
        tier("enterprise", 2, "price_ent"),
        tier("sovereign", 3, internal=True),
    ),
    routes=(),
)
KNOWN = {"price_pro": "pro", "price_ent": "enterprise", "price_pro_2024": "pro"}


def item(price_id: str = "price_pro") -> Item:
    return Item("si_1", price_id, None, "prod_1", "month", 1, NOW + 10 * DAY)


def subscription(status: str = "active", *price_ids: str, subscription_id: str = "sub_1") -> Subscription:
    return Subscription(
        subscription_id=subscription_id,
        customer_id="cus_1",
        status=status,
        items=tuple(item(price_id) for price_id in price_ids or ("price_pro",)),
        created_at=NOW - 30 * DAY,
        period_end_at=NOW + 10 * DAY,
        cancel_at=None,
        cancel_at_period_end=False,
        ended_at=None,
        trial_end_at=None,
        pause_behavior=None,
        collection_method="charge_automatically",
    )


def invoice(status: str, *, at: int, paid: int = 0, subscription_id: str = "sub_1") -> Invoice:
    return Invoice(f"in_{status}_{at}", subscription_id, status, 2000, paid, 1, at, at, None)


PAID_BEFORE = invoice("paid", at=NOW - 30 * DAY, paid=2000)


def decided(
    *subscriptions: Subscription,
    invoices: tuple[Invoice, ...] = (),
    grants: tuple[Grant, ...] = (),
    previous: Entitlement | None = None,
    now: int = NOW,
) -> Entitlement:
    return decide(APP, subscriptions, invoices, grants, KNOWN, previous, now)


def test_nobody_has_less_than_the_first_tier() -> None:
    assert decided() == Entitlement(tier="free", reason=Reason.DEFAULT, source="default")


@pytest.mark.parametrize(
    ("status", "expected_tier", "reason"),
    [
        ("active", "pro", "active"),
        ("trialing", "pro", "trialing"),
        ("incomplete", "free", "incomplete"),
        ("incomplete_expired", "free", "canceled"),
        ("unpaid", "free", "unpaid"),
        ("paused", "free", "paused"),
        ("canceled", "free", "canceled"),
        ("past_due", "free", "past_due_never_paid"),
    ],
)
def test_each_status_of_stripe_grants_as_the_table_says(status: str, expected_tier: str, reason: str) -> None:
    entitlement = decided(subscription(status))
    assert (entitlement.tier, entitlement.reason, entitlement.status) == (expected_tier, reason, status)


def test_past_due_keeps_the_tier_until_grace_ends() -> None:
    failed = invoice("open", at=NOW - DAY)
    entitlement = decided(subscription("past_due"), invoices=(PAID_BEFORE, failed))
    assert (entitlement.tier, entitlement.reason) == ("pro", Reason.GRACE)
    assert entitlement.then == ((NOW + 6 * DAY, "free"),)
    later = decided(subscription("past_due"), invoices=(PAID_BEFORE, failed), now=NOW + 6 * DAY)
    assert (later.tier, later.reason) == ("free", Reason.PAST_DUE_OVER)


def test_t18_grace_counts_from_the_oldest_open_invoice() -> None:
    invoices = (PAID_BEFORE, invoice("open", at=NOW - DAY), invoice("open", at=NOW - 6 * DAY))
    assert decided(subscription("past_due"), invoices=invoices).until == NOW + DAY


def test_t18_a_trial_that_ends_unpaid_has_no_grace() -> None:
    free_trial_invoice = invoice("paid", at=NOW - 30 * DAY, paid=0)
    entitlement = decided(subscription("past_due"), invoices=(free_trial_invoice, invoice("open", at=NOW - DAY)))
    assert (entitlement.tier, entitlement.reason) == ("free", Reason.NEVER_PAID)


def test_t18_past_due_never_raises() -> None:
    before = decided(subscription("active", "price_pro"))
    unpaid_upgrade = subscription("past_due", "price_ent")
    invoices = (PAID_BEFORE, invoice("open", at=NOW - DAY))
    assert decided(unpaid_upgrade, invoices=invoices, previous=before).tier == "pro"


def test_another_subscriptions_payments_buy_no_grace() -> None:
    invoices = (replace(PAID_BEFORE, subscription_id="sub_other"), invoice("open", at=NOW - DAY))
    assert decided(subscription("past_due"), invoices=invoices).tier == "free"


@pytest.mark.parametrize(
    "ending",
    [{"cancel_at": NOW + 10 * DAY}, {"cancel_at_period_end": True}],
    ids=["cancel_at (flexible billing)", "cancel_at_period_end"],
)
def test_a_canceled_renewal_keeps_the_tier_and_tells_when_it_ends(ending: dict[str, int]) -> None:
    entitlement = decided(replace(subscription(), **ending))
    assert (entitlement.tier, entitlement.ends_at) == ("pro", NOW + 10 * DAY)
    assert entitlement.then == ((NOW + 10 * DAY, "free"),)


def test_void_pause_collection_provides_no_service_the_other_kinds_do() -> None:
    tiers = {kind: decided(replace(subscription(), pause_behavior=kind)).tier for kind in ("void", "keep_as_draft")}
    assert tiers == {"void": "free", "keep_as_draft": "pro"}


def test_the_best_item_decides_and_add_ons_are_ignored() -> None:
    assert decided(subscription("active", "price_addon", "price_ent", "price_pro")).tier == "enterprise"


def test_the_best_of_several_subscriptions_wins_and_paying_twice_is_a_concern() -> None:
    entitlement = decided(subscription(), subscription("active", "price_ent", subscription_id="sub_2"))
    assert (entitlement.tier, entitlement.subscription_id) == ("enterprise", "sub_2")
    assert [concern.kind for concern in entitlement.concerns] == ["duplicate_subscription"]


def test_a_dead_subscription_never_hides_a_live_one() -> None:
    assert decided(subscription("canceled", "price_ent"), subscription(subscription_id="sub_2")).tier == "pro"


def test_t15_a_price_that_once_was_the_tiers_still_is() -> None:
    assert decided(subscription("active", "price_pro_2024")).tier == "pro"


def test_t15_a_price_of_a_product_that_is_one_tiers_is_that_tiers() -> None:
    """Its lookup key has moved on and the database was lost: the product is all that is left."""
    stranger = replace(subscription(), items=(item("price_of_2023"),))
    assert decided(stranger).tier == "free"
    assert decide(APP, [stranger], (), (), {**KNOWN, "prod_1": "pro"}, None, NOW).tier == "pro"


def test_t15_a_known_price_outweighs_its_product() -> None:
    entitlement = decide(APP, [subscription("active", "price_ent")], (), (), {**KNOWN, "prod_1": "pro"}, None, NOW)
    assert entitlement.tier == "enterprise"


def test_t18_grace_is_at_the_tier_that_was_paid_last() -> None:
    """Nothing is remembered, and the upgrade's invoice is open: what was paid last was pro."""
    paid = replace(PAID_BEFORE, price_ids=("price_pro",))
    older = replace(PAID_BEFORE, invoice_id="in_older", created_at=0, price_ids=("price_ent",))
    failed = replace(invoice("open", at=NOW - DAY), price_ids=("price_ent",))
    unpaid_upgrade = subscription("past_due", "price_ent")
    assert decided(unpaid_upgrade, invoices=(failed, older, paid)).tier == "pro"
    assert decided(unpaid_upgrade, invoices=(failed, replace(paid, price_ids=("price_ent",)))).tier == "enterprise"


def test_t18_a_downgrade_that_is_past_due_stays_down() -> None:
    paid = replace(PAID_BEFORE, price_ids=("price_ent",))
    assert decided(subscription("past_due"), invoices=(paid, invoice("open", at=NOW - DAY))).tier == "pro"


def test_an_unknown_price_keeps_the_last_good_tier_of_that_subscription() -> None:
    before = decided(subscription())
    forgotten = {"price_ent": "enterprise"}
    app = replace(APP, tiers=(APP.tiers[0], tier("pro", 1), *APP.tiers[2:]))
    entitlement = decide(app, [subscription()], (), (), forgotten, before, NOW)
    assert (entitlement.tier, entitlement.reason) == ("pro", Reason.KEPT)
    assert [concern.kind for concern in entitlement.concerns] == ["unknown_price"]


def test_t15_a_moved_price_keeps_the_tier_only_to_the_periods_end() -> None:
    before = decided(subscription())
    moved = subscription("active", "price_unheard_of")
    assert decided(moved, previous=before).then == ((NOW + 10 * DAY, "free"),)
    assert decided(moved, previous=before, now=NOW + 10 * DAY).tier == "free"


@pytest.mark.parametrize("odd", [subscription("frozen"), subscription("active", "price_unheard_of")])
def test_nobody_is_raised_by_what_we_do_not_know(odd: Subscription) -> None:
    before = decided(subscription("active", "price_ent", subscription_id="sub_other"))
    entitlement = decided(odd, previous=before)
    assert entitlement.tier == "free"
    assert entitlement.concerns


def test_an_unknown_status_cuts_nobody_off() -> None:
    entitlement = decided(subscription("frozen"), previous=decided(subscription()))
    assert (entitlement.tier, entitlement.reason) == ("pro", Reason.KEPT)
    assert [concern.kind for concern in entitlement.concerns] == ["unknown_status"]


def test_a_grant_gives_an_internal_tier_until_its_end() -> None:
    entitlement = decided(subscription(), grants=(Grant(1, "sovereign", "friend", NOW + DAY),))
    assert (entitlement.tier, entitlement.source) == ("sovereign", "grant")
    assert entitlement.then == ((NOW + DAY, "pro"),)


def test_an_unknown_price_prolongs_neither_grace_nor_a_cancellation() -> None:
    bought = decided(subscription("active", "price_pro"))
    unknown = replace(subscription("active", "price_gone"), cancel_at=NOW + 3 * DAY)
    assert decided(unknown, previous=bought).then == ((NOW + 3 * DAY, "free"),)
    late = subscription("past_due", "price_gone")
    invoices = (PAID_BEFORE, invoice("open", at=NOW - DAY))
    assert decided(late, invoices=invoices, previous=bought).then == ((NOW + 6 * DAY, "free"),)


def test_a_grant_that_is_over_or_of_a_lost_tier_gives_nothing() -> None:
    grants = (Grant(1, "sovereign", "friend", NOW), Grant(2, "no_such_tier", "typo", None))
    assert decided(grants=grants).tier == "free"


_STATUSES = st.sampled_from(
    ["active", "trialing", "past_due", "incomplete", "incomplete_expired", "unpaid", "paused", "canceled", "new_one"]
)
_SUBSCRIPTIONS = st.lists(
    st.builds(
        lambda status, prices, number, cancel_at: replace(
            subscription(status, *prices, subscription_id=f"sub_{number}"), cancel_at=cancel_at
        ),
        _STATUSES,
        st.lists(st.sampled_from(["price_pro", "price_ent", "price_addon"]), min_size=1, max_size=3),
        st.integers(0, 3),
        st.none() | st.integers(NOW - DAY, NOW + 20 * DAY),
    ),
    max_size=4,
    unique_by=lambda each: each.subscription_id,
)


@given(_SUBSCRIPTIONS, st.randoms())
def test_order_does_not_matter(subscriptions: list[Subscription], random: object) -> None:
    shuffled = list(subscriptions)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = decided(*subscriptions), decided(*shuffled)
    assert (one.tier, one.then) == (other.tier, other.then)


@given(_SUBSCRIPTIONS)
def test_no_tier_without_a_granting_status(subscriptions: list[Subscription]) -> None:
    granting = [each for each in subscriptions if each.status in ("active", "trialing")]
    if decided(*subscriptions).tier != "free":
        assert granting


@given(_SUBSCRIPTIONS)
def test_deciding_again_from_ones_own_result_changes_nothing(subscriptions: list[Subscription]) -> None:
    once = decided(*subscriptions)
    assert decided(*subscriptions, previous=once) == once


@given(_SUBSCRIPTIONS, st.integers(0, 40))
def test_what_then_says_is_what_a_later_decision_finds_no_later(subscriptions: list[Subscription], days: int) -> None:
    """`then` only ever lowers, in order, and lies in the future."""
    entitlement = decided(*subscriptions, now=NOW + days * DAY)
    instants = [instant for instant, _ in entitlement.then]
    ranks = [{"free": 0, "pro": 1, "enterprise": 2}[name] for _, name in ((0, entitlement.tier), *entitlement.then)]
    assert instants == sorted(instants)
    assert all(instant > NOW + days * DAY for instant in instants)
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)
