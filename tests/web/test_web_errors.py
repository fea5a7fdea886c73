"""The table of errors, restated by hand."""

from __future__ import annotations

import pytest
from aiohttp import web

from gateway import errors
from gateway.stripe.errors import StripeError
from gateway.web.errors import STATUS, error_response, status_of

BY_HAND = {
    "InvalidInput": 400, "BadSignature": 400, "NotAuthenticated": 401, "TierRequired": 402, "Forbidden": 403,
    "NotFound": 404, "Conflict": 409, "TooLarge": 413, "WrongMediaType": 415, "TooMany": 429, "UpstreamFailed": 502,
    "StoreUnavailable": 503, "ConfigError": 409, "AlreadyRunning": 409,
}  # fmt: skip


def test_the_table_is_this_one() -> None:
    assert {cls.__name__: status for cls, status in STATUS.items()} == BY_HAND


def test_every_error_of_the_project_has_a_status() -> None:
    found = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.SkpayError)]
    assert len(found) >= 13
    missing = [cls.__name__ for cls in found if cls is not errors.SkpayError and cls not in STATUS]
    assert missing == []


def test_a_subclass_is_answered_as_its_nearest_kind() -> None:
    error = StripeError("no", status=503, stripe_code="x", param="", request_id="", retry_now=False)
    assert (status_of(error), error.code) == (502, "upstream_failed")


def test_a_permanent_refusal_of_a_vendor_is_a_conflict_with_its_own_code() -> None:
    error = StripeError("no", status=400, stripe_code="x", param="", request_id="", retry_now=False)
    assert (status_of(error), error.code) == (409, "stripe_refused")
    assert status_of(errors.UpstreamFailed("no", retryable=False)) == 409
    assert errors.UpstreamFailed("no", retryable=False).code == "upstream_refused"
    assert errors.UpstreamFailed("no", retryable=False, code="litellm_refused").code == "litellm_refused"


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_input"), (503, "store_unavailable")])
def test_an_error_is_a_code_a_message_and_fields(status: int, code: str) -> None:
    response = error_response(status, code, "in words", tiers=["free"])
    assert isinstance(response, web.Response)
    assert response.status == status
    assert response.text == f'{{"error": "{code}", "message": "in words", "tiers": ["free"]}}'
