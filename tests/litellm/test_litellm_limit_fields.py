"""The limit fields of a request, and which stored values count as equal. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.model import Limits
from gateway.litellm import limit_fields

LIMITS = st.builds(
    Limits,
    max_budget_usd=st.none() | st.floats(0, 1e6),
    budget_duration=st.sampled_from(["1d", "7d", "1mo"]),
    tpm_limit=st.none() | st.integers(0, 10**9),
    rpm_limit=st.none() | st.integers(0, 10**9),
    models=st.none() | st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True).map(tuple),
)


@pytest.mark.parametrize(
    ("name", "desired", "got", "holds"),
    [
        ("max_budget", 10, 10.0, True),
        ("max_budget", 10, 9.99, False),
        ("max_budget", 10, None, False),
        ("max_budget", 0, None, False),
        ("max_budget", None, None, True),
        ("max_budget", None, 1e9, True),
        ("max_budget", None, 10.0, False),
        ("rpm_limit", None, 2147483647, True),
        ("rpm_limit", None, 2147483646, False),
        ("rpm_limit", 1, True, False),
        ("rpm_limit", 60, "60", False),
        ("budget_duration", "1d", "1d", True),
        ("budget_duration", "1d", None, False),
        ("models", ["a", "b"], ["b", "a"], True),
        ("models", ["a"], ["a", "b"], False),
        ("models", ["a"], [], False),
        ("models", ["a"], None, False),
        ("models", ["all-proxy-models"], ["all-proxy-models"], True),
        ("models", ["all-proxy-models"], [], True),
        ("models", ["all-proxy-models"], None, True),
        ("models", ["all-proxy-models"], ["a"], False),
    ],
)
def test_what_holds(name: str, desired: object, got: object, holds: bool) -> None:
    assert (limit_fields.mismatches({name: desired}, {name: got}) == {}) is holds


@pytest.mark.parametrize(
    ("reset_at", "due"),
    [
        ("2026-11-22T21:50:00Z", True),
        ("2026-11-22T21:49:59.999000Z", True),
        ("2026-11-22T21:50:00", True),
        ("2026-11-22T22:50:00+01:00", True),
        ("2026-11-22T21:50:01Z", False),
        ("2026-11-23T00:00:00Z", False),
        ("soon", False),
        ("", False),
        (None, False),
        (0, False),
    ],
)
def test_when_a_reset_is_due(reset_at: object, due: bool) -> None:
    assert limit_fields.reset_is_due({"budget_reset_at": reset_at}, 1_795_384_200.0) is due


@given(LIMITS)
def test_an_answer_with_the_expected_fields_has_no_difference(limits: Limits) -> None:
    desired = limit_fields.user_fields(limits)
    assert limit_fields.mismatches(desired, desired) == {}


@given(LIMITS)
def test_the_fields_without_nulls_are_equivalent(limits: Limits) -> None:
    desired = limit_fields.user_fields(limits)
    large = limit_fields.without_nulls(desired)
    assert None not in large.values()
    assert limit_fields.mismatches(desired, large) == {}


@given(LIMITS, LIMITS)
def test_what_differs_is_what_makes_the_difference(limits: Limits, other: Limits) -> None:
    desired, answer = limit_fields.user_fields(limits), limit_fields.user_fields(other)
    assert limit_fields.mismatches(desired, {**answer, **limit_fields.mismatches(desired, answer)}) == {}


@given(LIMITS)
def test_models_are_never_an_empty_list(limits: Limits) -> None:
    assert limit_fields.model_names(limits)
