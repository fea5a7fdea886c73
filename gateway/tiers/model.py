"""The values of a tier decision. Pure. Instants are epoch seconds UTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Reason(StrEnum):
    """The rule that made a decision; `explain` shows it, so a value is never renamed."""

    DEFAULT = "default"  # nothing grants more than the first tier
    ACTIVE = "active"
    TRIALING = "trialing"
    GRACE = "past_due_in_grace"
    GRANT = "grant"
    KEPT = "kept_last_good_tier"  # something unknown to us: a payer is not cut off for that
    PAST_DUE_OVER = "past_due_grace_over"
    UNCONFIRMED = "not_confirmed_by_stripe_in_time"  # the clock said so, and Stripe could not be asked for 72 h
    NEVER_PAID = "past_due_never_paid"
    NOT_PAID_YET = "incomplete"
    UNPAID = "unpaid"
    PAUSED = "paused"
    CANCELED = "canceled"
    DISPUTE_OPEN = "dispute_open"  # the first tier, as `on_dispute: hold` asks for
    DISPUTE_LOST = "dispute_lost"
    REFUNDED = "refunded"


RUNNING_STATUSES = ("active", "trialing", "past_due")
"""Statuses in which the customer pays or is expected to pay."""
ENDED_STATUSES = ("canceled", "incomplete_expired")
"""Stripe's final statuses: it will never charge for such a subscription again."""
NO_LONGER_LISTED = "missing"
"""Not a status of Stripe's: a subscription that Stripe listed before and lists no longer."""


@dataclass(frozen=True, slots=True)
class Item:
    """One subscription item. `product_id` may be None when Stripe sent only a price id."""

    item_id: str
    price_id: str
    lookup_key: str | None
    product_id: str | None
    interval: str | None
    quantity: int | None
    period_end_at: int | None


@dataclass(frozen=True, slots=True)
class Phase:
    """What a subscription schedule sells from `start_at` to `end_at`."""

    start_at: int
    end_at: int | None
    price_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The phases of a subscription schedule; `cancels`: the subscription ends with the last one."""

    phases: tuple[Phase, ...]
    cancels: bool


@dataclass(frozen=True, slots=True)
class Subscription:
    """A Stripe subscription in one shape, whatever API version it came in.

    `schedule` None: it has none, or it could not be read.
    """

    subscription_id: str
    customer_id: str
    status: str
    items: tuple[Item, ...]
    created_at: int
    period_end_at: int | None
    cancel_at: int | None
    cancel_at_period_end: bool
    ended_at: int | None
    trial_end_at: int | None
    pause_behavior: str | None
    collection_method: str
    pending_update: bool = False
    schedule_id: str | None = None
    schedule: Schedule | None = None
    period_start_at: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED_STATUSES

    @property
    def ends_at(self) -> int | None:
        """When it ends or ended for good, as far as Stripe knows."""
        if self.ended_at is not None:
            return self.ended_at
        if self.cancel_at is not None:
            return self.cancel_at
        return self.period_end_at if self.cancel_at_period_end else None


@dataclass(frozen=True, slots=True)
class Invoice:
    """A Stripe invoice in one shape. Amounts are minor units; `first_attempt_at` None if never attempted.

    `amount_paid` is what was charged: 0 where the credit balance paid, or something outside Stripe. `charged` lists the
    (price id, product id) of each line that costs something; lines that credit something back are left out.
    `period_end_at` is the latest end of the periods of those lines.
    """

    invoice_id: str
    subscription_id: str | None
    status: str
    amount_due: int
    amount_paid: int
    attempt_count: int
    created_at: int
    first_attempt_at: int | None
    hosted_invoice_url: str | None
    charged: tuple[tuple[str, str | None], ...] = ()
    currency: str = ""
    total: int = 0
    due_at: int | None = None
    finalized_at: int | None = None
    period_end_at: int | None = None

    @property
    def paid(self) -> bool:
        """Whether it paid for something, by whatever means; a coupon of 100 % did not."""
        return self.status == "paid" and self.total > 0

    @property
    def failing_since_at(self) -> int:
        """When it should have been paid, were it not: the due date of one that is sent, the first attempt of others."""
        return next(
            at for at in (self.due_at, self.first_attempt_at, self.finalized_at, self.created_at) if at is not None
        )


@dataclass(frozen=True, slots=True)
class Dispute:
    """A charge that the payer's bank disputes. `due_at` is the deadline for evidence; None: none is accepted."""

    dispute_id: str
    customer_id: str
    charge_id: str
    status: str
    reason: str
    amount: int
    currency: str
    created_at: int
    due_at: int | None


@dataclass(frozen=True, slots=True)
class Refund:
    """A charge that was refunded at least in part. `until_at` is the end of the period that it paid for.

    `subscription_id` None: it paid for no subscription.
    """

    charge_id: str
    customer_id: str
    amount: int
    currency: str
    in_full: bool
    subscription_id: str | None
    until_at: int


@dataclass(frozen=True, slots=True)
class FraudWarning:
    """A charge that the card's issuer reports as fraud. `actionable` until it is refunded in full or disputed."""

    warning_id: str
    customer_id: str
    charge_id: str
    fraud_type: str
    actionable: bool


DisputeOrRefund = Dispute | Refund | FraudWarning
"""What can happen to a charge after it was paid."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A tier that an operator gave; `until_at` None: without end."""

    grant_id: int
    tier: str
    reason: str
    until_at: int | None


@dataclass(frozen=True, slots=True)
class LastGoodTier:
    """The last tier that a subscription gave by a known price, and that price.

    `gives`, `until_at` (None: no end known) and `status` are those of the last time that Stripe listed it.
    """

    subscription_id: str
    customer_id: str
    tier: str
    price_id: str | None
    gives: bool
    until_at: int | None
    status: str


@dataclass(frozen=True, slots=True)
class Concern:
    """A problem of a decision that an operator must check; becomes an alert."""

    kind: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The tier of one (app, user), why, and what the clock alone will change.

    `status` is Stripe's, None without a subscription. `until` is the next instant at which the clock alone changes
    the tier, None if none is known; `then` lists those changes as (epoch seconds, tier). `ends_at` is when the
    subscription ends. `price_id` is what the tier was read from. `period_end_at`, `renews` and `pending_tier`, with the
    instant at which it comes, are the subscription's; None without one, or where nothing is scheduled.
    """

    tier: str
    reason: Reason
    source: Literal["default", "subscription", "grant"]
    status: str | None = None
    customer_id: str | None = None
    subscription_id: str | None = None
    price_id: str | None = None
    upcoming_changes: tuple[tuple[int, str], ...] = ()
    ends_at: int | None = None
    concerns: tuple[Concern, ...] = ()
    period_end_at: int | None = None
    renews: bool | None = None
    pending_tier: str | None = None
    pending_at: int | None = None

    @property
    def until(self) -> int | None:
        return self.upcoming_changes[0][0] if self.upcoming_changes else None
