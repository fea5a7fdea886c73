"""What a refusal for good is called, and what an outage is."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.litellm.wire import Answer, Wire

DATABASE_AWAY = {"error": {"message": "Authentication Error, Can't reach database server at db:5432", "type": "auth"}}


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, {}, "litellm_refused", False), (401, {}, "litellm_refused", False), (403, {}, "litellm_refused", False),
        (404, {}, "litellm_refused", False), (409, {}, "litellm_refused", False), (422, {}, "litellm_refused", False),
        (400, DATABASE_AWAY, "upstream_failed", True), (401, DATABASE_AWAY, "upstream_failed", True),
        (408, {}, "upstream_failed", True), (429, {}, "upstream_failed", True), (500, {}, "upstream_failed", True),
        (503, {}, "upstream_failed", True),
    ],
)  # fmt: skip
def test_each_answer_is_an_outage_or_a_refusal_with_a_code_of_its_own(
    status: int, body: dict[str, Any], code: str, retryable: bool
) -> None:
    error = Wire(cast(Any, None), "http://litellm", ()).error_from("/user/update", Answer(status, body))
    assert (error.code, error.retryable, error.status) == (code, retryable, status)
