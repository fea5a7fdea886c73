"""The shapes of the public API; the OpenAPI document is generated from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def printable(text: str) -> str:
    """`text` itself. Raises `ValueError` for control characters, which must not reach a log or the database."""
    if not text.isprintable():
        raise ValueError("expected printable characters only")
    return text


Text = Annotated[str, AfterValidator(printable)]
UserId = Annotated[
    Text, Field(min_length=1, max_length=200, description="The app's own id of the user, stored unchanged.")
]
Instant = Annotated[int | None, Field(description="Epoch seconds, UTC.")]
PriceKey = Annotated[Text | None, Field(min_length=1, max_length=255)]
Interval = Literal["day", "week", "month", "year"] | None
IntervalCount = Annotated[int | None, Field(ge=1, le=1095, description="3 with `interval` month: every 3 months.")]
Currency = Annotated[str | None, Field(pattern=r"^[a-z]{3}$", description="As Stripe writes it: `usd`.")]
_YEAR_10000 = 253_402_300_800


class Body(BaseModel):
    """A request body: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid")


class FirstSeenUser(Body):
    app_id: Annotated[str, Field(min_length=1, max_length=63)]
    user_id: UserId


class FirstSeenRequest(Body):
    users: Annotated[list[FirstSeenUser], Field(max_length=200)]


class FigureChild(Body):
    """`numbers`: what a counter, or each bucket and the sum of a histogram, gained since the last report; or a gauge's
    value. `values`: of its labels."""

    values: Annotated[list[str], Field(max_length=10)]
    numbers: Annotated[list[float], Field(max_length=102)]


class Figure(Body):
    """A metric of a gate process."""

    name: Annotated[str, Field(max_length=100)]
    kind: Literal["counter", "gauge", "histogram"]
    text: Annotated[str, Field(max_length=300)]
    labels: Annotated[list[str], Field(max_length=10)]
    bounds: Annotated[list[float], Field(max_length=100)]
    children: list[FigureChild]


class GateReport(Body):
    """`number` grows by one with each report of a process; a repeated one is ignored. `sessions`: the apps that can say
    whether their sessions verify. `problems`: what the operator should know of the gate called `name`."""

    process: Annotated[Text, Field(min_length=1, max_length=200)]
    number: Annotated[int, Field(ge=1)]
    figures: Annotated[list[Figure], Field(max_length=200)]
    sessions: dict[str, Literal["failing", "fine"]]
    name: Annotated[Text, Field(min_length=1, max_length=200)] = "gate"
    problems: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=10)] = []


class CheckoutRequest(Body):
    user_id: UserId
    tier: Annotated[str, Field(min_length=1, max_length=63)]
    email: Annotated[
        Text | None, Field(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$", description="Prefills Stripe's page.")
    ] = None
    price: Annotated[PriceKey, Field(description="One of the tier's prices, by lookup key or price id.")] = None
    interval: Annotated[Interval, Field(description="Selects one of the tier's prices; default: the first one.")] = None
    interval_count: IntervalCount = None
    currency: Currency = None


class CheckoutAnswer(BaseModel):
    checkout_url: Annotated[str, Field(description="Redirect the user there; do not store it.")]
    kind: Annotated[
        Literal["checkout", "portal"],
        Field(description="`portal` if the user already has a subscription, so that none can be bought twice."),
    ]


class PortalRequest(Body):
    user_id: UserId


class PortalAnswer(BaseModel):
    portal_url: str


class LimitsAnswer(BaseModel):
    """LiteLLM's names; null is unlimited."""

    max_budget: float | None
    budget_duration: str
    tpm_limit: int | None
    rpm_limit: int | None
    models: list[str] | None


class TierAt(BaseModel):
    at: int
    tier: str


class StatusAnswer(BaseModel):
    app_id: str
    user_id: str
    tier: str
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    status: Annotated[str | None, Field(description="Stripe's status of that subscription.")]
    reason: Annotated[str, Field(description="The rule that gave the tier.")]
    source: Literal["default", "subscription", "grant"]
    until: Instant
    then: Annotated[list[TierAt], Field(description="Changes that will happen by time alone.")]
    ends_at: Instant
    period_end: Annotated[int | None, Field(description="The end of the subscription's current period.")]
    renews: Annotated[bool | None, Field(description="Whether Stripe will renew it for another period.")]
    pending_tier: Annotated[TierAt | None, Field(description="The tier change that is scheduled at Stripe.")]
    limits: LimitsAnswer
    features: list[str]


class ChangeAnswer(BaseModel):
    at: int
    from_: Annotated[str | None, Field(alias="from")]
    to: str
    reason: str
    change_id: str


class EventAnswer(BaseModel):
    received_at: int
    event_id: str
    type: str
    state: str


class ProvisioningJobAnswer(BaseModel):
    kind: str
    state: str
    attempts: int
    error: str
    answer: dict[str, object] | None


class NoticeAnswer(BaseModel):
    change_id: Annotated[str, Field(description="The `webhook-id` of the notice.")]
    state: Literal["waiting", "done", "dead"]
    attempts: int
    last_status: Annotated[int | None, Field(description="The app's last status; null: no answer.")]
    error: str
    due_at: Instant
    created_at: int
    done_at: Instant


class RefreshAnswer(BaseModel):
    """When the user will be read from Stripe without an event, and the last failure."""

    due_at: Instant
    timer_at: Instant
    attempts: int
    last_error: str


class ConcernAnswer(BaseModel):
    kind: str
    message: str


class ExplainAnswer(StatusAnswer):
    changes: list[ChangeAnswer]
    events: list[EventAnswer]
    provisioning: list[ProvisioningJobAnswer]
    notices: list[NoticeAnswer]
    refresh: RefreshAnswer | None
    concerns: list[ConcernAnswer]


class ErrorAnswer(BaseModel):
    model_config = ConfigDict(extra="allow")

    error: Annotated[str, Field(description="A stable code.")]
    message: str


class HealthAnswer(BaseModel):
    status: Literal[True]


class ReadyAnswer(BaseModel):
    ready: bool
    problems: Annotated[dict[str, str] | None, Field(description="Only with the admin token.")] = None


class KeyAnswer(BaseModel):
    """A public key, RFC 7517."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    kid: str
    alg: Literal["ES256"]
    use: Literal["sig"]


class KeySetAnswer(BaseModel):
    keys: Annotated[list[KeyAnswer], Field(description="Newest first; none while no app has `assertion`.")]


class BuyRequest(Body):
    tier: Annotated[str, Field(min_length=1, max_length=63)]
    price: PriceKey = None
    interval: Interval = None
    interval_count: IntervalCount = None
    currency: Currency = None
    unit_amount: Annotated[
        int | None, Field(ge=0, le=99_999_999_999, description="The amount that the page showed.")
    ] = None


class KeyRequest(Body):
    app_id: Annotated[str, Field(min_length=1, max_length=63)]
    user_id: UserId | None = None
    name: Annotated[Text, Field(max_length=100)] = ""


class GrantRequest(Body):
    app_id: Annotated[str, Field(min_length=1, max_length=63)]
    user_id: UserId
    tier: Annotated[str, Field(min_length=1, max_length=63)]
    reason: Annotated[Text, Field(min_length=1, max_length=500)]
    until_at: Annotated[Instant, Field(ge=0, lt=_YEAR_10000)] = None


class UserRequest(Body):
    app_id: Annotated[str, Field(min_length=1, max_length=63)]
    user_id: UserId


class CustomerUserPair(Body):
    customer_id: Annotated[Text, Field(min_length=1, max_length=255)]
    user_id: Annotated[Text, Field(max_length=1000)]


class AdoptRequest(Body):
    app_id: Annotated[str, Field(min_length=1, max_length=63)]
    claims: Annotated[list[CustomerUserPair], Field(min_length=1, max_length=100)]
    apply: bool = False


class MoveRequest(Body):
    app_id: Annotated[str, Field(min_length=1, max_length=63)]
    from_user_id: Annotated[Text, Field(max_length=1000)]
    to_user_id: Annotated[Text, Field(max_length=1000)]


class ReplayRequest(Body):
    change_id: Annotated[Text | None, Field(min_length=1, max_length=100)] = None
    dead: bool = False
    app_id: Annotated[str | None, Field(min_length=1, max_length=63)] = None


class ReconcileRequest(Body):
    app_id: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    apply: bool = False
    yes: Annotated[bool, Field(description="Apply even if it lowers many payers at once.")] = False


class HeaderLine(Body):
    name: Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}$")]
    value: Annotated[str, Field(max_length=16_384, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]


class GateExplainRequest(Body):
    """A visitor's request, as Traefik passes it to the gate."""

    app_id: Annotated[str, Field(min_length=1, max_length=63)]
    url: Annotated[str, Field(min_length=1, max_length=16_384)]
    method: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")] = "GET"
    headers: Annotated[list[HeaderLine], Field(max_length=200)] = []
