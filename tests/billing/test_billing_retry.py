"""What the worker does with a failed job: the tables of `billing/work/retry.py`, restated by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway import errors
from gateway.billing.work.retry import (
    CHECK_ENFORCEMENT,
    ERRORS,
    NOTIFY,
    PROVISION,
    RECONCILE,
    REFRESH,
    ROUTE_EVENTS,
    Failure,
    NextStep,
    RetryPolicy,
    backoff_seconds,
    classify,
    describe,
    next_step,
    traceback_of,
)

NOW = 1_000_000
DAY = 86_400


def every_error(root: type[errors.SkpayError] = errors.SkpayError) -> Iterator[type[errors.SkpayError]]:
    for each in root.__subclasses__():
        yield each
        yield from every_error(each)


def test_every_error_of_ours_is_in_the_table_itself_or_by_its_base() -> None:
    assert [each for each in every_error() if not any(base in ERRORS for base in each.__mro__)] == []


@pytest.mark.parametrize(
    ("exc", "failure"),
    [
        (errors.StoreUnavailable("full"), Failure.STORE),
        (errors.UpstreamFailed("busy"), Failure.UNAVAILABLE),
        (errors.UpstreamFailed("no such price", retryable=False), Failure.REFUSED),
        (TimeoutError(), Failure.UNAVAILABLE),
        (errors.InvalidInput("?"), Failure.INVALID),
        (errors.NotFound("?"), Failure.INVALID),
        (errors.Conflict("?"), Failure.INVALID),
        (errors.ConfigError(["?"]), Failure.INVALID),
        (RuntimeError("?"), Failure.INTERNAL),
        (ZeroDivisionError(), Failure.INTERNAL),
        (json.JSONDecodeError("?", "", 0), Failure.INTERNAL),
    ],
)
def test_each_error_has_its_kind_of_failure(exc: Exception, failure: Failure) -> None:
    assert classify(exc) is failure


@pytest.mark.parametrize(
    ("policy", "failure", "alert_after", "dead_after"),
    [
        (ROUTE_EVENTS, Failure.UNAVAILABLE, 5, None),
        (ROUTE_EVENTS, Failure.REFUSED, 1, None),
        (REFRESH, Failure.UNAVAILABLE, 5, None),
        (REFRESH, Failure.REFUSED, 1, None),
        (REFRESH, Failure.INVALID, 5, None),
        (REFRESH, Failure.INTERNAL, 5, None),
        (PROVISION, Failure.UNAVAILABLE, 5, None),
        (PROVISION, Failure.REFUSED, 1, 1),
        (PROVISION, Failure.INVALID, 5, 1),
        (PROVISION, Failure.INTERNAL, 5, 10),
        (NOTIFY, Failure.UNAVAILABLE, 5, None),
        (NOTIFY, Failure.REFUSED, 1, 1),
        (RECONCILE, Failure.STORE, None, None),
        (RECONCILE, Failure.UNAVAILABLE, 5, None),
        (RECONCILE, Failure.REFUSED, 1, None),
        (RECONCILE, Failure.INTERNAL, 5, None),
    ],
)
def test_thresholds(policy: RetryPolicy, failure: Failure, alert_after: int | None, dead_after: int | None) -> None:
    steps = {attempts: next_step(policy, failure, attempts, NOW) for attempts in range(1, 1000)}
    assert next((attempts for attempts, step in steps.items() if step.alert), None) == alert_after
    assert next((attempts for attempts, step in steps.items() if step.dead), None) == dead_after


@pytest.mark.parametrize(("failed_for", "dead"), [(None, False), (0, False), (3 * DAY - 1, False), (3 * DAY, True)])
def test_a_notice_is_given_up_three_days_after_its_first_failure(failed_for: int | None, dead: bool) -> None:
    first_failed_at = None if failed_for is None else NOW - failed_for
    assert next_step(NOTIFY, Failure.UNAVAILABLE, 100, NOW, first_failed_at).dead is dead
    assert next_step(REFRESH, Failure.UNAVAILABLE, 100, NOW, first_failed_at).dead is False


def test_the_wait_doubles_up_to_ten_minutes() -> None:
    assert [backoff_seconds(attempts) for attempts in range(8)] == [1, 1, 2, 4, 8, 16, 32, 64]
    assert [backoff_seconds(attempts) for attempts in (10, 11, 10_000)] == [512, 600, 600]
    assert next_step(REFRESH, Failure.UNAVAILABLE, 3, NOW) == NextStep(dead=False, alert=False, retry_at=NOW + 4)


@pytest.mark.parametrize(("policy", "seconds"), [(RECONCILE, 900), (CHECK_ENFORCEMENT, 3600)])
def test_expensive_work_waits_a_fixed_time(policy: RetryPolicy, seconds: int) -> None:
    assert {policy.delay(attempts) for attempts in range(1, 20)} == {seconds}


def test_only_an_internal_error_is_logged_with_its_traceback_and_without_its_text() -> None:
    secret = RuntimeError("sk_live_secret")
    assert (describe(secret), traceback_of(secret)) == ("RuntimeError", secret)
    refused = errors.UpstreamFailed("Stripe refused the request.", detail="401 invalid key", retryable=False)
    assert (describe(refused), traceback_of(refused)) == ("401 invalid key", None)
    assert describe(errors.NotFound("There is no app 'x'.")) == "There is no app 'x'."
