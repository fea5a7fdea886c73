"""The tier decision: Stripe's statuses by hand, then the stories around grace, ends, grants and the unknown."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.model import App, Limits, Price, Tier
from gateway.tiers.decide import decide
from gateway.tiers.last_good_tiers import updated_last_good_tiers
from gateway.tiers.model import Entitlement, Grant, Invoice, Item, LastGoodTier, Phase, Reason, Schedule, Subscription

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


def invoice(
    status: str, *, at: int, paid: int = 0, subscription_id: str = "sub_1", price_id: str | None = None
) -> Invoice:
    charged = ((price_id, None),) if price_id else ()
    total = paid if status == "paid" else 2000
    return Invoice(
        f"in_{status}_{at}", subscription_id, status, 2000, paid, 1, at, at, None, charged, total=total, finalized_at=at
    )


PAID_BEFORE = invoice("paid", at=NOW - 30 * DAY, paid=2000)


def good(*subscriptions: Subscription) -> dict[str, LastGoodTier]:
    """What is remembered of these, seen once."""
    return updated_last_good_tiers(APP, subscriptions, (), KNOWN, {}, NOW)


def decided(
    *subscriptions: Subscription,
    invoices: tuple[Invoice, ...] = (),
    grants: tuple[Grant, ...] = (),
    last_good: dict[str, LastGoodTier] | None = None,
    now: int = NOW,
) -> Entitlement:
    return decide(APP, subscriptions, invoices, grants, KNOWN, last_good or {}, now)


def test_the_first_tier_is_the_minimum() -> None:
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
    assert entitlement.upcoming_changes == ((NOW + 6 * DAY, "free"),)
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
    unpaid_upgrade = subscription("past_due", "price_ent")
    invoices = (replace(PAID_BEFORE, charged=(("price_pro", None),)), invoice("open", at=NOW - DAY))
    assert decided(unpaid_upgrade, invoices=invoices).tier == "pro"


def test_another_subscriptions_payments_buy_no_grace() -> None:
    invoices = (replace(PAID_BEFORE, subscription_id="sub_other"), invoice("open", at=NOW - DAY))
    assert decided(subscription("past_due"), invoices=invoices).tier == "free"


@pytest.mark.parametrize(
    "ending",
    [{"cancel_at": NOW + 10 * DAY}, {"cancel_at_period_end": True}],
    ids=["cancel_at (flexible billing)", "cancel_at_period_end"],
)
def test_a_canceled_renewal_keeps_the_tier_and_has_an_end(ending: dict[str, int]) -> None:
    entitlement = decided(replace(subscription(), **ending))
    assert (entitlement.tier, entitlement.ends_at) == ("pro", NOW + 10 * DAY)
    assert entitlement.upcoming_changes == ((NOW + 10 * DAY, "free"),)


def test_void_pause_collection_provides_no_service_the_other_kinds_do() -> None:
    tiers = {kind: decided(replace(subscription(), pause_behavior=kind)).tier for kind in ("void", "keep_as_draft")}
    assert tiers == {"void": "free", "keep_as_draft": "pro"}


def test_the_best_item_decides_and_add_ons_are_ignored() -> None:
    assert decided(subscription("active", "price_addon", "price_ent", "price_pro")).tier == "enterprise"


def test_the_best_of_several_subscriptions_wins_and_paying_twice_is_a_concern() -> None:
    entitlement = decided(subscription(), subscription("active", "price_ent", subscription_id="sub_2"))
    assert (entitlement.tier, entitlement.subscription_id) == ("enterprise", "sub_2")
    assert [concern.kind for concern in entitlement.concerns] == ["duplicate_subscription"]


@pytest.mark.parametrize(
    "ailing",
    [
        subscription("past_due"),
        replace(subscription(), cancel_at=NOW + DAY),
        replace(subscription(), cancel_at_period_end=True),
        replace(subscription(), pause_behavior="void"),
    ],
)
def test_of_two_subscriptions_the_healthy_one_is_never_the_one_to_cancel(ailing: Subscription) -> None:
    """The older one is about to end by itself: without the newer one its payer would have nothing."""
    ailing = replace(ailing, created_at=NOW - 60 * DAY)
    healthy = replace(subscription(subscription_id="sub_2"), created_at=NOW - DAY)
    invoices = (
        invoice("paid", at=NOW - 60 * DAY, paid=2000, price_id="price_pro"),
        invoice("paid", at=NOW - DAY, paid=2000, subscription_id="sub_2", price_id="price_pro"),
    )
    for order in ((ailing, healthy), (healthy, ailing)):
        [concern] = decided(*order, invoices=invoices).concerns
        assert concern.message == (
            "pays for 2 subscriptions at once, the oldest first: sub_1, sub_2; cancel sub_1, which is past due, paused "
            "or about to end, and keep sub_2"
        )


def test_a_dead_subscription_never_hides_a_live_one() -> None:
    assert decided(subscription("canceled", "price_ent"), subscription(subscription_id="sub_2")).tier == "pro"


def test_t15_a_price_that_once_was_the_tiers_still_is() -> None:
    assert decided(subscription("active", "price_pro_2024")).tier == "pro"


def test_t15_a_price_of_a_product_that_is_one_tiers_is_that_tiers() -> None:
    """Its lookup key has moved on and the database was lost: the product is all that is left."""
    unknown = replace(subscription(), items=(item("price_of_2023"),))
    assert decided(unknown).tier == "free"
    assert decide(APP, [unknown], (), (), {**KNOWN, "prod_1": "pro"}, {}, NOW).tier == "pro"


def test_t15_a_known_price_outweighs_its_product() -> None:
    entitlement = decide(APP, [subscription("active", "price_ent")], (), (), {**KNOWN, "prod_1": "pro"}, {}, NOW)
    assert entitlement.tier == "enterprise"


def test_t18_grace_is_at_the_tier_that_was_paid_last() -> None:
    """Nothing is remembered, and the upgrade's invoice is open: what was paid last was pro."""
    paid = replace(PAID_BEFORE, charged=(("price_pro", None),))
    older = replace(PAID_BEFORE, invoice_id="in_older", created_at=0, charged=(("price_ent", None),))
    failed = replace(invoice("open", at=NOW - DAY), charged=(("price_ent", None),))
    unpaid_upgrade = subscription("past_due", "price_ent")
    assert decided(unpaid_upgrade, invoices=(failed, older, paid)).tier == "pro"
    assert (
        decided(unpaid_upgrade, invoices=(failed, replace(paid, charged=(("price_ent", None),)))).tier == "enterprise"
    )


def test_t18_a_downgrade_that_is_past_due_stays_down() -> None:
    paid = replace(PAID_BEFORE, charged=(("price_ent", None),))
    assert decided(subscription("past_due"), invoices=(paid, invoice("open", at=NOW - DAY))).tier == "pro"


def test_an_unknown_price_keeps_the_last_good_tier_of_that_subscription() -> None:
    before = good(subscription())
    forgotten = {"price_ent": "enterprise"}
    app = replace(APP, tiers=(APP.tiers[0], tier("pro", 1), *APP.tiers[2:]))
    entitlement = decide(app, [subscription()], (), (), forgotten, before, NOW)
    assert (entitlement.tier, entitlement.reason) == ("pro", Reason.KEPT)
    assert [concern.kind for concern in entitlement.concerns] == ["unknown_price"]


def test_t15_a_moved_price_keeps_the_tier_to_the_periods_end_and_a_late_renewal_costs_nothing() -> None:
    before = good(subscription())
    moved = subscription("active", "price_unheard_of")
    assert decided(moved, last_good=before).upcoming_changes == ((NOW + 11 * DAY, "free"),)
    assert decided(moved, last_good=before, now=NOW + 10 * DAY + 30).tier == "pro"
    assert decided(moved, last_good=before, now=NOW + 11 * DAY).tier == "free"
    renewed = replace(moved, period_end_at=NOW + 40 * DAY)
    assert decided(renewed, last_good=before, now=NOW + 12 * DAY).tier == "pro"


@pytest.mark.parametrize("odd", [subscription("frozen"), subscription("active", "price_unheard_of")])
def test_an_unknown_price_or_status_raises_no_tier(odd: Subscription) -> None:
    before = good(subscription("active", "price_ent", subscription_id="sub_other"))
    entitlement = decided(odd, last_good=before)
    assert entitlement.tier == "free"
    assert entitlement.concerns


def test_an_unknown_status_keeps_the_tier() -> None:
    entitlement = decided(subscription("frozen"), last_good=good(subscription()))
    assert (entitlement.tier, entitlement.reason) == ("pro", Reason.KEPT)
    assert [concern.kind for concern in entitlement.concerns] == ["unknown_status"]


@pytest.mark.parametrize("seen_before", [True, False])
def test_an_unknown_status_gives_what_was_paid_last_while_nothing_is_owed(seen_before: bool) -> None:
    frozen, before = subscription("frozen", "price_ent"), good(subscription()) if seen_before else None
    paid = replace(PAID_BEFORE, charged=(("price_pro", None),))
    assert decided(frozen, invoices=(paid,), last_good=before).upcoming_changes == ((NOW + 11 * DAY, "free"),)
    owing = (paid, invoice("open", at=NOW - DAY))
    assert decided(frozen, invoices=owing, last_good=before).upcoming_changes == ((NOW + 6 * DAY, "free"),)
    owed = (paid, invoice("uncollectible", at=NOW - 8 * DAY))
    assert decided(frozen, invoices=owed, last_good=before).tier == "free"


def test_a_grant_gives_an_internal_tier_until_its_end() -> None:
    entitlement = decided(subscription(), grants=(Grant(1, "sovereign", "friend", NOW + DAY),))
    assert (entitlement.tier, entitlement.source) == ("sovereign", "grant")
    assert entitlement.upcoming_changes == ((NOW + DAY, "pro"),)


def test_an_unknown_price_prolongs_neither_grace_nor_a_cancellation() -> None:
    bought = good(subscription("active", "price_pro"))
    unknown = replace(subscription("active", "price_gone"), cancel_at=NOW + 3 * DAY)
    assert decided(unknown, last_good=bought).upcoming_changes == ((NOW + 3 * DAY, "free"),)
    late = subscription("past_due", "price_gone")
    invoices = (PAID_BEFORE, invoice("open", at=NOW - DAY))
    assert decided(late, invoices=invoices, last_good=bought).upcoming_changes == ((NOW + 6 * DAY, "free"),)


def test_a_grant_that_is_over_or_of_a_lost_tier_gives_nothing() -> None:
    grants = (Grant(1, "sovereign", "friend", NOW), Grant(2, "no_such_tier", "typo", None))
    assert decided(grants=grants).tier == "free"


def since(entitlement: Entitlement) -> int:
    """When the grace of a past_due subscription began."""
    assert (entitlement.reason, entitlement.until is not None) == (Reason.GRACE, True), entitlement
    return (entitlement.until or 0) - APP.grace_seconds


NEVER_CHARGED = replace(invoice("open", at=NOW - 2 * DAY), attempt_count=0, first_attempt_at=None)


@pytest.mark.parametrize(
    ("unpaid", "began"),
    [
        (replace(NEVER_CHARGED, due_at=NOW - DAY), NOW - DAY),
        (replace(NEVER_CHARGED, due_at=NOW + DAY), NOW + DAY),
        (replace(NEVER_CHARGED, finalized_at=NOW - 3 * DAY), NOW - 3 * DAY),
        (replace(NEVER_CHARGED, finalized_at=None), NOW - 2 * DAY),
        # Somebody tried a card on the hosted page before the invoice was due.
        (replace(invoice("open", at=NOW - 3 * DAY), due_at=NOW - DAY), NOW - DAY),
    ],
    ids=["due date", "not due yet", "finalization", "creation", "tried before it was due"],
)
def test_grace_of_an_invoice_that_is_not_charged_runs_from_its_due_date_or_finalization(
    unpaid: Invoice, began: int
) -> None:
    late = replace(subscription("past_due"), collection_method="send_invoice")
    assert since(decided(late, invoices=(PAID_BEFORE, unpaid))) == began
    over = decided(late, invoices=(PAID_BEFORE, unpaid), now=began + 7 * DAY)
    assert (over.tier, over.reason) == ("free", Reason.PAST_DUE_OVER)


@pytest.mark.parametrize("status", ["uncollectible", "void"])
@pytest.mark.parametrize("how", ["attempted", "sent"])
def test_an_unpaid_invoice_that_was_given_up_counts_from_its_first_attempt_or_due_date(status: str, how: str) -> None:
    at = NOW - 5 * DAY
    tried = invoice(status, at=at)
    sent = replace(tried, attempt_count=0, first_attempt_at=None, created_at=NOW - 20 * DAY, due_at=at)
    given_up = tried if how == "attempted" else sent
    assert since(decided(subscription("past_due"), invoices=(PAID_BEFORE, given_up))) == at
    assert decided(subscription("past_due"), invoices=(PAID_BEFORE, given_up), now=NOW + 2 * DAY).tier == "free"


def test_invoices_that_paused_collection_voided_start_no_grace() -> None:
    voided = replace(invoice("void", at=NOW - 20 * DAY), attempt_count=0, first_attempt_at=None)
    failed = invoice("open", at=NOW - DAY)
    assert since(decided(subscription("past_due"), invoices=(PAID_BEFORE, voided, failed))) == NOW - DAY


@pytest.mark.parametrize(
    ("paid", "period_start_at", "began"),
    [
        (replace(PAID_BEFORE, period_end_at=NOW - DAY), NOW - 2 * DAY, NOW - DAY),
        (PAID_BEFORE, NOW - 2 * DAY, NOW - 2 * DAY),
        (replace(PAID_BEFORE, created_at=NOW - 3 * DAY), None, NOW - 3 * DAY),
    ],
    ids=["the paid period's end", "this period's start", "the payment"],
)
def test_past_due_without_an_unpaid_invoice_has_an_end_all_the_same(
    paid: Invoice, period_start_at: int | None, began: int
) -> None:
    assert since(decided(replace(subscription("past_due"), period_start_at=period_start_at), invoices=(paid,))) == began


def test_an_old_open_invoice_does_not_shorten_the_grace_of_a_new_failure() -> None:
    months = [invoice("paid", at=NOW - month * 30 * DAY, paid=2000) for month in range(1, 5)]
    abandoned = invoice("open", at=NOW - 5 * 30 * DAY)
    first = invoice("paid", at=NOW - 6 * 30 * DAY, paid=2000)
    failed = invoice("open", at=NOW - DAY)
    invoices = (failed, *months, abandoned, first)
    assert since(decided(subscription("past_due"), invoices=invoices)) == NOW - DAY
    assert since(decided(subscription("past_due"), invoices=invoices[::-1])) == NOW - DAY


@pytest.mark.parametrize(("total", "tier_id"), [(2000, "pro"), (0, "free")])
def test_what_was_paid_without_a_charge_is_paid_and_a_full_coupon_is_not(total: int, tier_id: str) -> None:
    """From the credit balance, or outside Stripe: `amount_paid` is 0."""
    settled = replace(invoice("paid", at=NOW - 30 * DAY), total=total)
    assert decided(subscription("past_due"), invoices=(settled, invoice("open", at=NOW - DAY))).tier == tier_id


def test_past_due_ends_no_later_than_its_cancellation() -> None:
    ending = replace(subscription("past_due"), cancel_at=NOW + DAY)
    assert decided(ending, invoices=(PAID_BEFORE, invoice("open", at=NOW - DAY))).upcoming_changes == (
        (NOW + DAY, "free"),
    )


def test_a_newer_invoice_for_seats_alone_does_not_hide_the_tier_that_was_paid() -> None:
    plan = replace(PAID_BEFORE, charged=(("price_ent", None),))
    seats = invoice("paid", at=NOW - 9 * DAY, paid=500, price_id="price_seat")
    late = subscription("past_due", "price_ent", "price_seat")
    assert decided(late, invoices=(invoice("open", at=NOW - DAY), seats, plan)).tier == "enterprise"


def test_past_due_at_a_tier_that_was_never_paid_says_so() -> None:
    other = replace(PAID_BEFORE, charged=(("price_seat", None),))
    found = decided(subscription("past_due"), invoices=(other, invoice("open", at=NOW - DAY)))
    assert (found.tier, found.reason) == ("free", Reason.NEVER_PAID)


def test_a_paid_price_is_known_by_its_product() -> None:
    paid = replace(PAID_BEFORE, charged=(("price_of_2023", "prod_1"),))
    late = replace(subscription("past_due"), items=(item("price_of_2023"),))
    invoices = (paid, invoice("open", at=NOW - DAY))
    assert decide(APP, [late], invoices, (), {**KNOWN, "prod_1": "pro"}, {}, NOW).tier == "pro"


def test_what_was_paid_last_is_kept_at_an_unknown_price_though_nothing_is_remembered() -> None:
    paid = replace(PAID_BEFORE, charged=(("price_pro", None),))
    unknown = subscription("active", "price_unheard_of")
    renewed = invoice("paid", at=NOW - DAY, paid=1234, price_id="price_unheard_of")
    for invoices in ((paid,), (renewed, paid)):
        found = decided(unknown, invoices=invoices)
        assert (found.tier, found.reason) == ("pro", Reason.KEPT)
    assert decided(unknown, invoices=(renewed,)).tier == "free"


def test_a_schedule_gives_the_pending_tier_and_its_instant() -> None:
    now, later = Phase(NOW - DAY, NOW + 10 * DAY, ("price_ent",)), Phase(NOW + 10 * DAY, NOW + 40 * DAY, ("price_pro",))
    scheduled = replace(subscription("active", "price_ent"), schedule=Schedule((now, later), cancels=False))
    found = decided(scheduled)
    assert (found.pending_tier, found.pending_at) == ("pro", NOW + 10 * DAY)
    assert (found.period_end_at, found.renews) == (NOW + 10 * DAY, True)
    ending = decided(replace(scheduled, schedule=Schedule((now,), cancels=True)))
    assert (ending.pending_tier, ending.pending_at, ending.renews) == ("free", NOW + 10 * DAY, False)
    unknown = replace(later, price_ids=("price_unheard_of",))
    assert decided(replace(scheduled, schedule=Schedule((now, unknown), cancels=False))).pending_tier is None


@pytest.mark.parametrize(
    ("of", "renews"),
    [
        (subscription(), True),
        (subscription("past_due"), True),
        (replace(subscription(), cancel_at=NOW + DAY), False),
        (subscription("paused"), False),
        (subscription("canceled"), False),
    ],
    ids=["active", "past_due", "cancels", "paused", "canceled"],
)
def test_what_runs_and_does_not_end_renews(of: Subscription, renews: bool) -> None:
    assert decided(of).renews is renews
    assert decided().renews is None


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
    assert (one.tier, one.upcoming_changes) == (other.tier, other.upcoming_changes)


@given(_SUBSCRIPTIONS)
def test_no_tier_without_a_granting_status(subscriptions: list[Subscription]) -> None:
    granting = [each for each in subscriptions if each.status in ("active", "trialing")]
    if decided(*subscriptions).tier != "free":
        assert granting


@given(_SUBSCRIPTIONS)
def test_deciding_is_idempotent_with_the_stored_last_good_tiers(subscriptions: list[Subscription]) -> None:
    once = decided(*subscriptions)
    assert decided(*subscriptions, last_good=good(*subscriptions)) == once


@given(_SUBSCRIPTIONS, st.integers(0, 40))
def test_what_then_says_is_what_a_later_decision_finds_no_later(subscriptions: list[Subscription], days: int) -> None:
    """`then` only ever lowers, in order, and lies in the future."""
    entitlement = decided(*subscriptions, now=NOW + days * DAY)
    instants = [instant for instant, _ in entitlement.upcoming_changes]
    ranks = [
        {"free": 0, "pro": 1, "enterprise": 2}[name]
        for _, name in ((0, entitlement.tier), *entitlement.upcoming_changes)
    ]
    assert instants == sorted(instants)
    assert all(instant > NOW + days * DAY for instant in instants)
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)
