"""A tier's limits as LiteLLM's fields, and the differences of an answer from them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gateway.catalog.model import Limits

Json = Mapping[str, object]

ALL_MODELS = ("all-proxy-models",)
"""Every model, in words that no version ignores; `[]` is a no-op on /user/update."""

# What stands for "unlimited" where a version ignores null: 1.80 does for all of these, 1.103 for tpm and rpm.
# The rates fit an int32, which the columns were once.
_UNLIMITED_NUMBERS: dict[str, float | int] = {"max_budget": 1e9, "tpm_limit": 2**31 - 1, "rpm_limit": 2**31 - 1}

_USER_FIELDS = (
    "max_budget", "budget_duration", "budget_reset_at", "tpm_limit", "rpm_limit", "models", "spend", "teams",
)  # fmt: skip
_CUSTOMER_FIELDS = ("budget_id", "models", "spend", "blocked")
_BUDGET_FIELDS = ("budget_id", "max_budget", "budget_duration", "budget_reset_at", "tpm_limit", "rpm_limit")


@dataclass(frozen=True, slots=True)
class Provisioned:
    """LiteLLM's answer to the last write, and its differences from the request.

    `answer` holds the limits, the models and the spend, never a key. `differences` are lines for an operator.
    `budget_changed`: the budget that all customers of a tier share was written. For the other customers LiteLLM
    caches the old one for up to 60 s, or until they are provisioned.
    """

    answer: Json
    differences: tuple[str, ...] = ()
    budget_changed: bool = False

    @property
    def matches(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True)
class LimitsComparison:
    """What LiteLLM has of a user, customer or budget, compared with what it should have.

    `differences` are lines for an operator. `less` and `more`: a limit is lower, or higher, than it should be.
    """

    answer: Json
    differences: tuple[str, ...]
    allows_less: bool
    allows_more: bool


def compare(expected: Json, row: Json, answer: Json) -> LimitsComparison:
    """`row` compared with `expected`; `answer` is the part of it to keep."""
    missing = mismatches(expected, row)
    signs = {_sign(name, desired, row.get(name)) for name, desired in missing.items()}
    return LimitsComparison(answer, mismatch_lines(missing, row), allows_less=-1 in signs, allows_more=1 in signs)


def enforceable_limits(limits: Limits) -> Limits:
    """The limits to write so that LiteLLM enforces these: where one of them is 0, no call at all is allowed a minute.

    A budget of 0 stops nobody by itself: LiteLLM 1.106.2 refuses a customer whose spend is *greater* than the budget,
    so that calls pass until the first spend is counted, and asks for no budget where a model costs nothing. A rate
    limit of 0 is enforced before the model is chosen, for customers and internal users alike.
    """
    nothing = 0 in (limits.max_budget_usd, limits.tpm_limit, limits.rpm_limit)
    return replace(limits, rpm_limit=0) if nothing else limits


def budget_fields(limits: Limits) -> dict[str, object]:
    """The limits of a budget; None is unlimited."""
    limits = enforceable_limits(limits)
    return {
        "max_budget": limits.max_budget_usd,
        "budget_duration": limits.budget_duration,
        "tpm_limit": limits.tpm_limit,
        "rpm_limit": limits.rpm_limit,
    }


def model_names(limits: Limits) -> list[str]:
    """The models by name; never empty, since an empty list means all on one route and nothing on another."""
    return list(limits.models or ALL_MODELS)


def user_fields(limits: Limits) -> dict[str, object]:
    """The limits and models of an internal user."""
    return {**budget_fields(limits), "models": model_names(limits)}


def mismatches(expected: Json, answer: Json) -> dict[str, object]:
    """The part of `expected` that `answer` lacks."""
    return {name: desired for name, desired in expected.items() if not _holds(name, desired, answer.get(name))}


def without_nulls(expected: Json) -> dict[str, object]:
    """The same fields with a very large number for unlimited."""
    return {name: _UNLIMITED_NUMBERS.get(name) if desired is None else desired for name, desired in expected.items()}


def mismatch_lines(missing: Json, answer: Json) -> tuple[str, ...]:
    """One line for each field that LiteLLM did not take."""
    return tuple(
        f"{name}: expected {expected!r}, LiteLLM has {answer.get(name)!r}" for name, expected in missing.items()
    )


def reset_is_due(row: Json, now: float) -> bool:
    """Whether this row's budget period is over and LiteLLM's job has not yet reset its spend.

    Writing budget_duration then moves budget_reset_at a whole period on and keeps the old spend.
    """
    text = row.get("budget_reset_at")
    if not isinstance(text, str) or not text:
        return False
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return False
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() <= now


def user_answer(row: Json) -> dict[str, object]:
    """The part of an internal user's row to keep."""
    return {name: row.get(name) for name in _USER_FIELDS}


def customer_answer(row: Json, budget: Json) -> dict[str, object]:
    """The part of a customer's row to keep, with its budget."""
    return {**{name: row.get(name) for name in _CUSTOMER_FIELDS}, "budget": budget}


def budget_answer(row: Json) -> dict[str, object]:
    """The part of a budget's row to keep."""
    return {name: row.get(name) for name in _BUDGET_FIELDS}


def _holds(name: str, expected: object, got: object) -> bool:
    if expected is None:
        enough = _UNLIMITED_NUMBERS.get(name)
        return got is None or (enough is not None and isinstance(got, int | float) and got >= enough)
    if name == "models" and isinstance(expected, list):
        # No list means every model; 1.80 has none for customers, and so cannot limit theirs.
        return set(got if isinstance(got, list) and got else ALL_MODELS) == set(expected)
    return got == expected and not isinstance(got, bool)


def _sign(name: str, expected: object, got: object) -> int:
    """-1 if less is allowed than expected, 1 if more, 0 if they cannot be compared."""
    if name == "models" and isinstance(expected, list):
        have, want = set(got if isinstance(got, list) and got else ALL_MODELS), set(expected)
        if have == set(ALL_MODELS):
            return 1
        return 1 if have > want and want != set(ALL_MODELS) else -1
    if name not in _UNLIMITED_NUMBERS:
        return 0
    if got is None:
        return 1
    if not isinstance(got, int | float):
        return 0
    return 1 if isinstance(expected, int | float) and got > expected else -1
