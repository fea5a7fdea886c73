"""One value from both shapes of Stripe's objects."""

from collections.abc import Callable

import pytest

from gateway.errors import UpstreamFailed
from gateway.stripe.checkout_sessions import read_session
from gateway.stripe.customers import read_customer
from gateway.stripe.disputes import read_refund
from gateway.stripe.errors import (
    AuthenticationFailed,
    InvalidRequest,
    PermissionDenied,
    StripeError,
    StripeNotFound,
    UnknownPath,
    stripe_error,
)
from gateway.stripe.invoices import read_invoice
from gateway.stripe.prices import read_price
from gateway.stripe.subscriptions import read_schedule, read_subscription
from gateway.tiers.model import Phase, Schedule

PRICE = {"id": "price_1", "lookup_key": "skai_pro_month", "product": "prod_1", "recurring": {"interval": "month"}}
SINCE_BASIL = {
    "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "created": 5,
    "cancel_at": None, "cancel_at_period_end": True, "collection_method": "charge_automatically",
    "items": {"data": [
        {"id": "si_1", "quantity": 1, "price": PRICE, "current_period_start": 10, "current_period_end": 20},
    ]},
}  # fmt: skip
UP_TO_2024 = {
    **SINCE_BASIL,
    "customer": {"id": "cus_1", "object": "customer"},
    "current_period_start": 10,
    "current_period_end": 20,
    "items": {"data": [{"id": "si_1", "quantity": 1, "price": PRICE}]},
}


def test_both_shapes_of_a_subscription_are_one_value() -> None:
    assert read_subscription(SINCE_BASIL) == read_subscription(UP_TO_2024)
    assert read_subscription(UP_TO_2024).ends_at == 20


def test_mixed_intervals_end_with_the_earliest_item() -> None:
    items = [{**SINCE_BASIL["items"]["data"][0], "current_period_end": end} for end in (900, 20, 50)]
    assert read_subscription({**SINCE_BASIL, "items": {"data": items}}).period_end_at == 20


def test_both_shapes_of_an_invoice_are_one_value() -> None:
    common = {
        "id": "in_1", "status": "open", "amount_due": 2000, "amount_paid": 0, "attempt_count": 2, "created": 100,
        "status_transitions": {"finalized_at": 110}, "hosted_invoice_url": "https://invoice.stripe.com/i/1",
    }  # fmt: skip
    since_basil = {**common, "parent": {"subscription_details": {"subscription": "sub_1"}}}
    assert read_invoice(since_basil) == read_invoice({**common, "subscription": "sub_1"})
    assert read_invoice(since_basil).first_attempt_at == 110


def test_both_shapes_of_a_line_name_what_is_charged_and_credits_name_nothing() -> None:
    common = {"id": "in_1", "status": "paid"}
    since_basil = [
        {"amount": 2000, "pricing": {"price_details": {"price": "price_1", "product": "prod_1"}}},
        {"amount": -900, "pricing": {"price_details": {"price": "price_0"}}},
    ]
    up_to_2024 = [
        {"amount": 2000, "price": {"id": "price_1", "product": "prod_1"}},
        {"amount": -900, "price": {"id": "price_0"}},
    ]
    for lines in (since_basil, up_to_2024):
        assert read_invoice({**common, "lines": {"data": lines}}).charged == (("price_1", "prod_1"),)


def test_an_invoice_that_was_never_attempted_has_no_first_attempt() -> None:
    raw = {"id": "in_1", "status": "open", "attempt_count": 0, "created": 100}
    assert read_invoice(raw).first_attempt_at is None


@pytest.mark.parametrize("raw", [{}, {"id": "sub_1"}, {"id": 5, "status": "active"}, {"id": "sub_1", "status": None}])
def test_what_is_no_subscription_is_the_vendors_failure_not_ours(raw: dict[str, object]) -> None:
    with pytest.raises(UpstreamFailed):
        read_subscription(raw)


def test_rubbish_inside_does_not_become_a_tier() -> None:
    odd = read_subscription({**SINCE_BASIL, "items": {"data": [{"price": None}, {"price": "price_text"}]}})
    assert [item.price_id for item in odd.items] == ["", "price_text"]


def test_an_invoice_has_a_due_date_a_total_and_a_period_end() -> None:
    lines = [
        {"amount": 2000, "period": {"start": 10, "end": 20}},
        {"amount": 0, "period": {"end": 900}},
        {"amount": 5, "period": {"end": 15}},
    ]
    raw = {"id": "in_1", "status": "open", "due_date": 7, "total": 2005, "created": 1, "lines": {"data": lines}}
    read = read_invoice({**raw, "status_transitions": {"finalized_at": 3}})
    assert (read.due_at, read.total, read.finalized_at, read.period_end_at) == (7, 2005, 3, 20)


def test_a_schedules_phases_name_their_prices_whether_expanded_or_not() -> None:
    raw = {"phases": [{"start_date": 1, "end_date": 2, "items": [{"price": "price_1"}, {"price": {"id": "price_2"}}]},
                      {"items": []}, None], "end_behavior": "cancel"}  # fmt: skip
    assert read_schedule(raw) == Schedule((Phase(1, 2, ("price_1", "price_2")),), cancels=True)
    assert read_schedule({"end_behavior": "release"}) == Schedule((), cancels=False)


def test_a_part_of_a_list_is_refused() -> None:
    part = {"object": "list", "data": [], "has_more": True, "url": "/v1/some/list"}
    for read in (
        lambda: read_subscription({**SINCE_BASIL, "items": part}),
        lambda: read_invoice({"id": "in_1", "status": "paid", "lines": part}),
        lambda: read_refund({"id": "ch_1"}, "cus_1", {"id": "in_1", "lines": part}),
    ):
        with pytest.raises(UpstreamFailed, match="a part of a list"):
            read()


@pytest.mark.parametrize("read", [read_customer, read_session, read_price])
def test_an_object_without_an_id_is_the_vendors_failure(read: Callable[[dict[str, object]], object]) -> None:
    with pytest.raises(UpstreamFailed, match="without id"):
        read({"status": "open"})


def test_a_session_is_open_complete_or_neither() -> None:
    found = [read_session({"id": "cs_1", "status": status}) for status in ("open", "complete", "expired")]
    assert [(each.is_open, each.is_complete) for each in found] == [(True, False), (False, True), (False, False)]


def test_a_customer_without_a_currency_or_metadata_has_none() -> None:
    found = read_customer({"id": "cus_1", "currency": "", "metadata": None, "deleted": True})
    assert (found.currency, found.metadata, found.deleted) == (None, {}, True)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "resource_missing", StripeNotFound),
        (400, "resource_missing", StripeNotFound),
        (401, "resource_missing", AuthenticationFailed),
        (401, "", AuthenticationFailed),
        (403, "", PermissionDenied),
        (404, "", UnknownPath),
        (400, "", InvalidRequest),
        (429, "rate_limit", StripeError),
    ],
)
def test_an_error_has_the_class_of_its_status_or_code(status: int, code: str, kind: type[StripeError]) -> None:
    found = stripe_error("no", status=status, stripe_code=code, param="", request_id="", retry_now=False)
    assert type(found) is kind
