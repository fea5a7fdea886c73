"""T19: how disputes, refunds and fraud warnings affect the tier, and their alerts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_tiers_decide import APP, DAY, KNOWN, NOW, PAID_BEFORE, invoice, subscription

from gateway.catalog.model import App
from gateway.stripe.disputes import read_dispute, read_fraud_warning, read_refund
from gateway.tiers.decide import decide
from gateway.tiers.disputes import is_closed
from gateway.tiers.model import Dispute, DisputeOrRefund, Entitlement, FraudWarning, Grant, Invoice, Reason, Refund
from gateway.tiers.model import Subscription as Sub

DISPUTE = Dispute("du_1", "cus_1", "ch_1", "needs_response", "fraudulent", 2000, "usd", NOW - DAY, NOW + 9 * DAY)
REFUND = Refund("ch_1", "cus_1", 2000, "usd", True, "sub_1", NOW + 10 * DAY)
WARNING = FraudWarning("issfr_1", "cus_1", "ch_1", "unauthorized_use_of_card", True)
KEEPS = replace(APP, on_dispute="keep")
HOLDS_REFUNDS = replace(APP, on_full_refund="hold")

# Stripe's ten statuses, by hand: what the default, `hold`, makes of each.
OF_STATUS = {
    "needs_response": ("free", "dispute_open"),
    "under_review": ("free", "dispute_open"),
    "appeal_needs_response": ("free", "dispute_open"),
    "appeal_under_review": ("free", "dispute_open"),
    "warning_needs_response": ("pro", "dispute_open"),
    "warning_under_review": ("pro", "dispute_open"),
    "warning_closed": ("pro", None),
    "won": ("pro", None),
    "prevented": ("pro", None),
    "lost": ("free", "dispute_lost"),
}


def decided(
    *subscriptions: Sub,
    disputes: tuple[DisputeOrRefund, ...] = (),
    app: App = APP,
    grants: tuple[Grant, ...] = (),
    invoices: tuple[Invoice, ...] = (),
    now: int = NOW,
) -> Entitlement:
    return decide(app, subscriptions, invoices, grants, KNOWN, {}, now, disputes)


def alerts(entitlement: Entitlement) -> list[tuple[str, str]]:
    return [(each.kind, each.subject) for each in entitlement.concerns]


@pytest.mark.parametrize("status", OF_STATUS)
def test_every_status_of_a_dispute_has_its_effect_and_its_alert(status: str) -> None:
    tier, alert = OF_STATUS[status]
    found = decided(subscription(), disputes=(replace(DISPUTE, status=status),))
    assert found.tier == tier
    assert alerts(found) == ([] if alert is None else [(alert, "du_1")])
    kept = decided(subscription(), disputes=(replace(DISPUTE, status=status),), app=KEEPS)
    assert (kept.tier, alerts(kept)) == ("pro", alerts(found))


@pytest.mark.parametrize("status", ["", "vanished", "needs_magic"])
def test_an_unknown_dispute_status_keeps_the_tier_and_is_alerted(status: str) -> None:
    found = decided(subscription(), disputes=(replace(DISPUTE, status=status),))
    assert (found.tier, alerts(found)) == ("pro", [("dispute_open", "du_1")])


def test_a_dispute_gives_its_reason_and_what_a_person_needs() -> None:
    found = decided(subscription(), disputes=(DISPUTE,))
    assert (found.tier, found.reason, found.source, found.until) == ("free", Reason.DISPUTE_OPEN, "default", None)
    assert (found.status, found.subscription_id) == ("active", "sub_1")
    message = found.concerns[0].message
    for word in ("du_1", "2000 usd", "fraudulent", "needs_response", "cus_1", "2027-01-24 (UTC)", "the first tier"):
        assert word in message


def test_a_bank_that_takes_no_answer_names_no_day() -> None:
    found = decided(subscription(), disputes=(replace(DISPUTE, due_at=None),))
    assert "no answer is accepted" in found.concerns[0].message


def test_a_grant_is_never_touched() -> None:
    grant = Grant(1, "sovereign", "a friend", None)
    for each in (DISPUTE, replace(DISPUTE, status="lost"), REFUND):
        found = decided(subscription(), disputes=(each,), app=HOLDS_REFUNDS, grants=(grant,))
        assert (found.tier, found.source) == ("sovereign", "grant")


def test_only_the_subscriptions_of_the_charges_customer_are_held() -> None:
    other = replace(subscription("active", "price_ent", subscription_id="sub_2"), customer_id="cus_2")
    assert decided(subscription(), other, disputes=(DISPUTE,)).tier == "enterprise"
    assert decided(other, disputes=(replace(DISPUTE, customer_id="cus_2"),)).tier == "free"


def test_all_subscriptions_of_the_customer_are_held_while_it_is_open() -> None:
    later = replace(subscription("active", "price_ent", subscription_id="sub_2"), created_at=NOW)
    assert decided(subscription(), later, disputes=(DISPUTE,)).tier == "free"


def test_a_subscription_created_after_a_dispute_is_not_affected_by_its_loss() -> None:
    lost = replace(DISPUTE, status="lost")
    later = replace(subscription("active", subscription_id="sub_2"), created_at=DISPUTE.created_at + 1)
    assert decided(subscription(), disputes=(lost,)).tier == "free"
    assert decided(later, disputes=(lost,)).tier == "pro"
    assert decided(replace(later, created_at=DISPUTE.created_at), disputes=(lost,)).tier == "free"


def test_a_lost_dispute_alerts_only_while_a_subscription_would_renew() -> None:
    lost = replace(DISPUTE, status="lost")
    found = decided(subscription(), disputes=(lost,))
    assert "sub_1 is held at the first tier and will be charged again" in found.concerns[0].message
    over = decided(subscription("canceled"), disputes=(lost,))
    assert (over.tier, over.reason, alerts(over)) == ("free", Reason.CANCELED, [])


def test_a_dispute_without_any_subscription_is_alerted_all_the_same() -> None:
    found = decided(disputes=(DISPUTE,))
    assert (found.tier, alerts(found)) == ("free", [("dispute_open", "du_1")])


def test_the_order_of_disputes_does_not_matter() -> None:
    several = (DISPUTE, replace(DISPUTE, dispute_id="du_2", status="won"), REFUND, WARNING)
    forth = decided(subscription(), disputes=several, app=HOLDS_REFUNDS)
    back = decided(subscription(), disputes=several[::-1], app=HOLDS_REFUNDS)
    assert (forth.tier, forth.reason) == (back.tier, back.reason) == ("free", Reason.DISPUTE_OPEN)
    assert sorted(alerts(forth)) == sorted(alerts(back))


def test_a_payment_that_fails_during_a_dispute_has_its_grace_once_it_is_won() -> None:
    past_due, invoices = subscription("past_due"), (PAID_BEFORE, invoice("open", at=NOW - DAY))
    existing = decided(past_due, disputes=(DISPUTE,), invoices=invoices)
    assert existing.tier == "free"
    won = decided(past_due, disputes=(replace(DISPUTE, status="won"),), invoices=invoices)
    assert (won.tier, won.reason) == ("pro", Reason.GRACE)


def test_what_gives_nothing_anyway_keeps_its_own_reason() -> None:
    assert decided(subscription("unpaid"), disputes=(DISPUTE,)).reason is Reason.UNPAID


def test_a_full_refund_changes_nothing_by_default_but_is_alerted() -> None:
    found = decided(subscription(), disputes=(REFUND,))
    assert (found.tier, alerts(found)) == ("pro", [("refunded", "ch_1")])
    assert "2000 usd" in found.concerns[0].message
    assert "sub_1 keeps running with its tier" in found.concerns[0].message


def test_a_full_refund_can_hold_what_it_had_paid_for_until_that_is_over() -> None:
    for now, tier in ((NOW, "free"), (NOW + 10 * DAY - 1, "free"), (NOW + 10 * DAY, "pro")):
        found = decided(subscription(), disputes=(REFUND,), app=HOLDS_REFUNDS, now=now)
        assert found.tier == tier
        assert found.reason is (Reason.REFUNDED if tier == "free" else Reason.ACTIVE)
        assert alerts(found) == ([("refunded", "ch_1")] if tier == "free" else [])


def test_refunding_one_of_two_subscriptions_does_not_hold_the_other() -> None:
    """An operator refunds so to fix a double purchase."""
    both = (subscription("canceled", subscription_id="sub_1"), subscription(subscription_id="sub_2"))
    found = decided(*both, disputes=(REFUND,), app=HOLDS_REFUNDS)
    assert (found.tier, alerts(found)) == ("pro", [])


@pytest.mark.parametrize("app", [APP, HOLDS_REFUNDS])
def test_a_refund_in_part_does_nothing(app: App) -> None:
    found = decided(subscription(), disputes=(replace(REFUND, in_full=False, amount=500),), app=app)
    assert (found.tier, alerts(found)) == ("pro", [])


def test_a_refund_without_a_subscription_is_alerted_and_keeps_the_tier() -> None:
    found = decided(subscription(), disputes=(replace(REFUND, subscription_id=None),), app=HOLDS_REFUNDS)
    assert (found.tier, alerts(found)) == ("pro", [("refunded", "ch_1")])


def test_a_fraud_warning_is_alerted_until_it_asks_for_nothing() -> None:
    found = decided(subscription(), disputes=(WARNING,))
    assert (found.tier, alerts(found)) == ("pro", [("fraud_warning", "issfr_1")])
    assert "ch_1" in found.concerns[0].message
    assert alerts(decided(subscription(), disputes=(replace(WARNING, actionable=False),))) == []


def test_closed_disputes_are_not_fetched() -> None:
    for status, over in {"needs_response": False, "warning_under_review": False, "new": False, "won": True,
                         "lost": True, "warning_closed": True, "prevented": True}.items():  # fmt: skip
        assert is_closed(replace(DISPUTE, status=status), NOW) is over
    assert [is_closed(REFUND, at) for at in (NOW, REFUND.until_at)] == [False, True]
    assert [is_closed(replace(WARNING, actionable=each), NOW) for each in (True, False)] == [False, True]


def test_a_double_purchase_says_which_one_is_newer_and_what_to_refund() -> None:
    older = replace(subscription(subscription_id="sub_9"), created_at=NOW - 30 * DAY)
    newer = replace(subscription(subscription_id="sub_1"), created_at=NOW - DAY)
    invoices = (
        replace(invoice("paid", at=NOW - 9 * DAY, paid=900, subscription_id="sub_9"), currency="usd"),
        replace(invoice("paid", at=NOW - 2 * DAY, paid=1500, subscription_id="sub_1"), currency="usd"),
        replace(invoice("paid", at=NOW - DAY, paid=2000, subscription_id="sub_1"), currency="usd"),
        replace(invoice("open", at=NOW, subscription_id="sub_1"), currency="usd"),
        replace(invoice("paid", at=NOW, subscription_id="sub_1"), currency="usd"),  # of 0: a trial's
    )
    for order in ((older, newer), (newer, older)):
        [concern] = decided(*order, invoices=invoices).concerns
        assert (concern.kind, concern.subject) == ("duplicate_subscription", "sub_1")
        assert concern.message == (
            "pays for 2 subscriptions at once, the oldest first: sub_9, sub_1; cancel sub_1 and refund "
            f"in_paid_{NOW - DAY}, 2000 usd (minor units)"
        )
    [concern] = decided(older, newer).concerns
    assert concern.message.endswith("cancel sub_1")


def test_stripes_dispute_is_read_with_its_day_of_answer() -> None:
    raw = {"object": "dispute", "id": "du_1", "charge": {"id": "ch_1"}, "status": "needs_response", "amount": 2000,
           "reason": "fraudulent", "currency": "usd", "created": NOW - DAY,
           "evidence_details": {"due_by": NOW + 9 * DAY}}  # fmt: skip
    assert read_dispute(raw, "cus_1") == DISPUTE
    assert read_dispute({**raw, "evidence_details": {"due_by": 0}}, "cus_1").due_at is None
    bare = read_dispute({"id": "du_1", "status": "won"}, "cus_1")
    assert (bare.charge_id, bare.reason, bare.amount, bare.due_at) == ("", "", 0, None)


def test_a_refunded_charge_is_read_with_the_end_of_what_it_paid() -> None:
    raw = {"id": "ch_1", "amount_refunded": 2000, "currency": "usd", "refunded": True, "created": NOW}
    ends = [NOW + 3 * DAY, NOW + 10 * DAY, None]
    paid = {
        "parent": {"subscription_details": {"subscription": "sub_1"}},
        "lines": {"data": [{"period": {"end": end}} for end in ends]},
    }
    assert read_refund(raw, "cus_1", paid) == REFUND
    assert read_refund({**raw, "refunded": False}, "cus_1", paid).in_full is False
    alone = read_refund(raw, "cus_1", None)
    assert (alone.subscription_id, alone.until_at) == (None, NOW + 31 * DAY)


def test_a_fraud_warning_is_read() -> None:
    raw = {"id": "issfr_1", "charge": "ch_1", "fraud_type": "unauthorized_use_of_card", "actionable": True}
    assert read_fraud_warning(raw, "cus_1") == WARNING
