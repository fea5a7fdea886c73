"""Drift: where Stripe, our store and LiteLLM disagree about a user, and the report of it. Pure."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from gateway.catalog.model import App
from gateway.tiers.decide import decide
from gateway.tiers.model import Entitlement, Subscription
from gateway.tiers.other_prices import has_only_other_prices

LINES_SHOWN = 1_000
WAVE_USERS, WAVE_PERCENT = 5, 2
_TIMER_LATE_SECONDS = 600
_BUCKETS = 4_096


class Kind(StrEnum):
    """Kinds of drift, the worst first: the order of the report."""

    PAID_BUT_BLOCKED = "paid_but_blocked"
    UNPAID_BUT_ACTIVE = "unpaid_but_active"
    OTHER = "other"


_ORDER = {kind: place for place, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Line:
    """One user on whom Stripe, the store and LiteLLM disagree: the state at each, and the repair.

    `refresh` and `provision` are the repair; both False where only an operator can. `lowers`: the tier would fall.
    `due_tier` is the correct tier, where it was read from Stripe and the store has another.
    """

    kind: Kind
    app_id: str
    user_id: str
    stripe: str
    store: str
    litellm: str
    repair: str
    refresh: bool = False
    provision: bool = False
    lowers: bool = False
    due_tier: str | None = None


@dataclass(slots=True)
class Checked:
    """How much was checked."""

    customers: int = 0
    subscriptions: int = 0
    one_by_one: int = 0
    litellm: int = 0


@dataclass(slots=True)
class Report:
    """What a pass found. `stopped` and `problems` are texts for the operator.

    `unknown_spenders`: customer ids with spend at LiteLLM that no user here has. `unadopted`: customer id → what to do
    about a customer that pays for a tier and is no user here.
    """

    app_id: str | None
    found: dict[tuple[str, str], Line] = field(default_factory=dict)
    checked: Checked = field(default_factory=Checked)
    payers: int = 0
    problems: list[str] = field(default_factory=list)
    unknown_spenders: list[str] = field(default_factory=list)
    unadopted: dict[str, str] = field(default_factory=dict)
    applied: bool = False
    stopped: str | None = None

    def add(self, line: Line) -> None:
        self.found[line.app_id, line.user_id] = line

    @property
    def lowered(self) -> int:
        """How many users' tiers applying would lower."""
        return sum(line.lowers for line in self.found.values())

    @property
    def is_wave(self) -> bool:
        """Whether applying would lower so many payers that a wrong key or edit is likelier than their leaving."""
        return self.lowered > wave_limit(self.payers)

    def counts(self) -> dict[str, int]:
        """How many lines of each kind."""
        return {kind.value: sum(line.kind is kind for line in self.found.values()) for kind in Kind}

    def shown(self) -> dict[str, object]:
        """For the operator, as JSON: the worst lines first, at most 1 000 of them."""
        lines = sorted(self.found.values(), key=lambda line: (_ORDER[line.kind], line.app_id, line.user_id))
        return {
            "app_id": self.app_id,
            "applied": self.applied,
            "stopped": self.stopped,
            "problems": self.problems,
            "unknown_spenders": self.unknown_spenders[:LINES_SHOWN],
            "unadopted_payers": len(self.unadopted),
            "unadopted": [self.unadopted[each] for each in sorted(self.unadopted)[:LINES_SHOWN]],
            "counts": self.counts(),
            "lowered": self.lowered,
            "payers": self.payers,
            "checked": asdict(self.checked),
            "lines": [_shown(line) for line in lines[:LINES_SHOWN]],
            "left_out": max(0, len(lines) - LINES_SHOWN),
        }


def _shown(line: Line) -> dict[str, object]:
    names = ("kind", "app_id", "user_id", "stripe", "store", "litellm", "repair")
    return {name: getattr(line, name) for name in names}


def wave_limit(payers: int) -> int:
    """How many of so many payers may be lowered, or be unknown to Stripe, before it must be a mistake (T16)."""
    return max(WAVE_USERS, payers * WAVE_PERCENT // 100)


class IdSet:
    """A set of ids at 8 bytes each: a hundred thousand names would be ten megabytes."""

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(_BUCKETS)]

    def add(self, name: str) -> None:
        number = self._number(name)
        bucket = self._buckets[number % _BUCKETS]
        if number not in bucket:
            bucket.append(number)

    def __contains__(self, name: str) -> bool:
        number = self._number(name)
        return number in self._buckets[number % _BUCKETS]

    @staticmethod
    def _number(name: str) -> int:
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def is_suspect(
    app: App, row: Subscription, stored: Entitlement | None, known_prices: Mapping[str, str], now: int
) -> bool:
    """Whether one row of Stripe's bulk list differs from the store, so that its user must be looked up.

    A suspicion costs a request and proves nothing: a row alone knows neither the user's other subscriptions nor the
    invoices that grace is counted from.
    """
    if has_only_other_prices(app, row, known_prices):
        return stored is not None and row.subscription_id == stored.subscription_id
    if stored is None or row.subscription_id != stored.subscription_id:
        return not row.has_ended
    if stored.until is not None and stored.until + _TIMER_LATE_SECONDS < now:
        return True
    if row.status == "past_due":
        return (row.status, row.ends_at) != (stored.status, stored.ends_at)
    alone = decide(app, (row,), (), (), known_prices, {}, now)
    return _essence(alone) != _essence(stored)


def _essence(entitlement: Entitlement) -> tuple[object, ...]:
    return (entitlement.tier, entitlement.status, entitlement.price_id, entitlement.ends_at)


def stripe_line(app: App, user_id: str, decided: Entitlement, stored: Entitlement | None) -> Line | None:
    """The line of a user if the tier by Stripe differs from the stored one; None if they agree."""
    before = stored or Entitlement(app.default_tier.tier_id, decided.reason, "default")
    changed = [
        f"{name}: {old or 'none'} → {new or 'none'}"
        for name, old, new in (
            ("tier", before.tier, decided.tier),
            ("status", before.status, decided.status),
            ("subscription", before.subscription_id, decided.subscription_id),
            ("price", before.price_id, decided.price_id),
            ("ends_at", before.ends_at, decided.ends_at),
        )
        if old != new
    ]
    raised, standing = ({concern.kind for concern in each.concerns} for each in (decided, before))
    changed += [f"alert {kind} is {'raised' if kind in raised else 'over'}" for kind in sorted(raised ^ standing)]
    if not changed:
        return None
    rise = _rank(app, decided.tier) - _rank(app, before.tier)
    return Line(
        kind=Kind.PAID_BUT_BLOCKED if rise > 0 else Kind.UNPAID_BUT_ACTIVE if rise < 0 else Kind.OTHER,
        app_id=app.app_id,
        user_id=user_id,
        stripe=describe_tier(decided),
        store=describe_tier(stored),
        litellm="",
        repair="; ".join(changed),
        refresh=True,
        lowers=rise < 0,
        due_tier=decided.tier if decided.tier != before.tier else None,
    )


def describe_tier(entitlement: Entitlement | None) -> str:
    """A tier and why, in a few words."""
    if entitlement is None:
        return "nothing"
    return f"{entitlement.tier} ({entitlement.status or entitlement.reason})"


def _rank(app: App, tier_id: str) -> int:
    return (app.tier(tier_id) or app.default_tier).rank
