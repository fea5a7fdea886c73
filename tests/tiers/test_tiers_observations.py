"""A law: the tier depends on what Stripe says now, never on which earlier states were observed.

Hypothesis makes up a history at Stripe. It is observed at any of its moments, each time as it is at that moment, and at
last in its final state: the final decision is the same as of somebody who saw nothing before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from test_tiers_decide import APP, DAY, KNOWN, NOW, subscription

from gateway.tiers.decide import decide
from gateway.tiers.last_good_tiers import updated_last_good_tiers
from gateway.tiers.missing_subscriptions import missing_subscriptions
from gateway.tiers.model import Dispute, DisputeOrRefund, Entitlement, Grant, Invoice, LastGoodTier, Subscription

UNKNOWN = "price_unheard_of"
AMOUNT = {"price_pro": 2000, "price_ent": 10_000, UNKNOWN: 1234}


@dataclass(frozen=True)
class Moment:
    """Everything that a refresh can see at one moment."""

    subscriptions: tuple[Subscription, ...]
    invoices: tuple[Invoice, ...]
    grants: tuple[Grant, ...]
    disputes: tuple[DisputeOrRefund, ...]
    now: int


@dataclass
class Stripe:
    """As much of Stripe as a history needs. `price` and `status` are those of the first subscription."""

    now: int = NOW
    status: str = "incomplete"
    price: str = "price_pro"
    pause: str | None = None
    period_end_at: int = NOW + 30 * DAY
    invoices: list[Invoice] = field(default_factory=list)
    second: str | None = None
    granted: bool = False
    dispute: str | None = None

    def moment(self) -> Moment:
        first = replace(
            subscription(self.status, self.price),
            created_at=NOW,
            pause_behavior=self.pause,
            period_end_at=self.period_end_at,
            period_start_at=self.period_end_at - 30 * DAY,
        )
        second = subscription(self.second or "", subscription_id="sub_2")
        dispute = Dispute("du_1", "cus_1", "ch_1", self.dispute or "", "fraudulent", 2000, "usd", NOW, None)
        return Moment(
            (first, replace(second, created_at=NOW + DAY)) if self.second else (first,),
            tuple(self.invoices),
            (Grant(1, "pro", "friend", None),) if self.granted else (),
            (dispute,) if self.dispute else (),
            self.now,
        )

    def bill(self, status: str) -> None:
        price, total = self.price, AMOUNT[self.price]
        self.invoices.append(
            Invoice(
                f"in_{len(self.invoices)}",
                "sub_1",
                status,
                total,
                total if status == "paid" else 0,
                1,
                self.now,
                self.now,
                None,
                ((price, None),),
                total=total,
                finalized_at=self.now,
                period_end_at=self.period_end_at,
            )
        )

    def settle(self, status: str) -> None:
        """What becomes of every open invoice."""
        self.invoices = [replace(each, status=status) if each.status == "open" else each for each in self.invoices]

    def wait(self, days: int) -> None:
        self.now += days * DAY

    def renew(self, status: str) -> None:
        self.now = max(self.now, self.period_end_at)
        self.period_end_at = self.now + 30 * DAY
        self.bill(status)
        self.status = "active" if status == "paid" else "past_due"

    def change(self, price: str, status: str | None) -> None:
        self.price = price
        if status is not None:
            self.bill(status)
            self.status = "active" if status == "paid" else "past_due"

    def pay(self) -> None:
        self.settle("paid")
        self.status = "active"

    def resume(self) -> None:
        self.status = "past_due" if any(each.status == "open" for each in self.invoices) else "active"


def owes(stripe: Stripe) -> bool:
    return any(each.status == "open" for each in stripe.invoices)


def paid(stripe: Stripe) -> bool:
    return any(each.paid for each in stripe.invoices)


def runs(stripe: Stripe) -> bool:
    return stripe.status in ("active", "past_due")


Act = Callable[[Stripe], object]
# Name → (whether it can happen now, what it does).
ACTS: dict[str, tuple[Callable[[Stripe], bool], Act]] = {
    "pays": (owes, lambda s: s.pay()),
    "three days": (lambda s: True, lambda s: s.wait(3)),
    "eight days": (lambda s: True, lambda s: s.wait(8)),
    "renews": (runs, lambda s: s.renew("paid")),
    "renewal fails": (runs, lambda s: s.renew("open")),
    "given up as uncollectible": (owes, lambda s: s.settle("uncollectible")),
    "made void": (owes, lambda s: s.settle("void")),
    "unpaid": (owes, lambda s: setattr(s, "status", "unpaid")),
    "paused": (runs, lambda s: setattr(s, "status", "paused")),
    "resumed": (lambda s: s.status == "paused", lambda s: s.resume()),
    "collection paused": (runs, lambda s: setattr(s, "pause", "void")),
    "collection resumed": (lambda s: s.pause is not None, lambda s: setattr(s, "pause", None)),
    "upgrade paid": (runs, lambda s: s.change("price_ent", "paid")),
    "upgrade not paid": (lambda s: runs(s) and s.price == "price_pro", lambda s: s.change("price_ent", "open")),
    "downgrade": (runs, lambda s: s.change("price_pro", None)),
    # The one exception: of a price that nobody knows and a tier that nobody ever paid, only an observer could know.
    "price unknown": (lambda s: runs(s) and paid(s), lambda s: s.change(UNKNOWN, None)),
    "status unknown": (lambda s: runs(s) and paid(s), lambda s: setattr(s, "status", "frozen")),
    "status known": (lambda s: s.status == "frozen", lambda s: s.resume()),
    "grant": (lambda s: True, lambda s: setattr(s, "granted", True)),
    "grant revoked": (lambda s: True, lambda s: setattr(s, "granted", False)),
    "disputed": (lambda s: True, lambda s: setattr(s, "dispute", "needs_response")),
    "dispute won": (lambda s: s.dispute is not None, lambda s: setattr(s, "dispute", "won")),
    "second bought": (lambda s: True, lambda s: setattr(s, "second", "active")),
    "second ended": (lambda s: s.second is not None, lambda s: setattr(s, "second", "canceled")),
    "canceled": (runs, lambda s: setattr(s, "status", "canceled")),
}


HIDING = ("paused", "collection paused", "unpaid", "disputed", "grant", "second bought", "upgrade not paid")
"""Acts after which a subscription gives less, or something else gives more."""
TELLING = ("price unknown", "status unknown", "renewal fails", "resumed", "collection resumed", "grant revoked")
"""Acts after which a decision is easily led by what was observed before."""


@st.composite
def histories(draw: st.DrawFn) -> list[Moment]:
    """Every moment of a history, each after an act that was possible then. Most end with a telling one."""
    stripe = Stripe()
    stripe.bill("open")
    moments = [stripe.moment()]

    def act(among: Sequence[str]) -> None:
        possible = [name for name in among if ACTS[name][0](stripe)]
        if possible:
            ACTS[draw(st.sampled_from(possible))][1](stripe)
            moments.append(stripe.moment())

    act(("pays",) if draw(st.integers(0, 3)) else ())
    for _ in range(draw(st.integers(0, 6))):
        act(tuple(ACTS))
    act(HIDING if draw(st.booleans()) else ())
    for _ in range(draw(st.integers(0, 3))):
        act(TELLING)
    return moments


def last_decision(moments: Sequence[Moment]) -> Entitlement:
    """The decision about the last of these moments by somebody who observes each in turn, as a refresh does."""
    last_good: dict[str, LastGoodTier] = {}
    for moment in moments:
        gone = missing_subscriptions(last_good.values(), moment.subscriptions, ("cus_1",))
        seen = (*moment.subscriptions, *gone)
        decided = decide(APP, seen, moment.invoices, moment.grants, KNOWN, last_good, moment.now, moment.disputes)
        last_good = updated_last_good_tiers(APP, seen, moment.invoices, KNOWN, last_good, moment.now)
    return decided


@given(histories(), st.data())
@settings(max_examples=1000, deadline=None)
def test_any_subset_of_observations_ends_in_the_same_decision(moments: list[Moment], data: st.DataObject) -> None:
    seen = data.draw(st.lists(st.booleans(), min_size=len(moments), max_size=len(moments)), "seen")
    observed = [moment for moment, was_seen in zip(moments, seen, strict=True) if was_seen]
    assert last_decision([*observed, moments[-1]]) == last_decision(moments[-1:])


def test_the_exception_is_an_unknown_price_of_what_was_never_paid() -> None:
    """A trial gives its tier by a price; only who saw it then knows what tier the subscription gave."""
    trial = Moment((subscription("trialing"),), (), (), (), NOW)
    moved = replace(trial, subscriptions=(subscription("trialing", UNKNOWN),))
    assert last_decision([trial, moved]).tier == "pro"
    assert last_decision([moved]).tier == "free"


BETWEEN: dict[str, Callable[[Moment], Moment]] = {
    "a grant": lambda m: replace(m, grants=(Grant(1, "sovereign", "friend", None),)),
    "a second subscription": lambda m: replace(
        m, subscriptions=(*m.subscriptions, subscription("active", "price_ent", subscription_id="sub_2"))
    ),
    "a pause": lambda m: replace(m, subscriptions=(replace(m.subscriptions[0], status="paused"),)),
    "collection paused": lambda m: replace(m, subscriptions=(replace(m.subscriptions[0], pause_behavior="void"),)),
    "a dispute": lambda m: replace(
        m, disputes=(Dispute("du_1", "cus_1", "ch_1", "needs_response", "fraudulent", 2000, "usd", NOW, None),)
    ),
    "a late renewal": lambda m: replace(m, now=NOW + 10 * DAY + 30),
    "a failed renewal": lambda m: replace(m, subscriptions=(replace(m.subscriptions[0], status="past_due"),)),
}


def test_the_last_good_tier_survives_grants_and_disputes() -> None:
    """Nothing was ever paid, so that only what is remembered of this subscription can tell."""
    good = Moment((subscription("trialing"),), (), (), (), NOW)
    unknown = replace(good, subscriptions=(subscription("active", UNKNOWN),))
    for name, between in BETWEEN.items():
        renewed = replace(unknown.subscriptions[0], period_end_at=NOW + 40 * DAY)
        ended = subscription("canceled", "price_ent", subscription_id="sub_2")
        after = replace(unknown, subscriptions=(renewed, ended), now=NOW + 11 * DAY)
        assert last_decision([good, unknown, between(unknown), after]).tier == "pro", name
