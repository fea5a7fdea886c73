"""The shape of apps.json, value by value, as pydantic models: what is checked, and what the JSON schema says. Pure.

Rules between values are in `rules`; they run over the raw tree, because pydantic skips them once a field has failed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.catalog import values
from gateway.catalog.identity_shape import IdentityShape
from gateway.catalog.leaves import (
    MAX_LIMIT,
    AppId,
    Feature,
    Flag,
    Host,
    Leaf,
    Limit,
    Method,
    Name,
    RoutePath,
    SecretText,
    Shape,
    TierId,
    WebOrigin,
    WebUrl,
)
from gateway.catalog.routing_shape import RoutingShape, TrafficShape, Upstream


class LimitsShape(Shape):
    """What LiteLLM allows on a tier. A key that is left out or null is unlimited."""

    max_budget: Annotated[
        float | None,
        Field(ge=0, le=1e12, allow_inf_nan=False, description="US dollars per budget_duration; null is unlimited."),
        Leaf("a number >= 0 or null"),
    ] = None
    budget_duration: Annotated[
        str,
        Field(pattern=r"^[1-9][0-9]{0,3}(s|m|h|d|w|mo)$", description="When spending starts again at 0."),
        Leaf('a duration of LiteLLM, such as "1d" (s, m, h, d, w or mo)'),
    ] = "1d"
    tpm_limit: Limit = Field(None, description="Tokens a minute; null is unlimited.")
    rpm_limit: Limit = Field(None, description="Requests a minute; null is unlimited.")
    models: (
        list[Annotated[str, Field(min_length=1, max_length=200), Leaf("the name of a model", values.text_problem)]]
        | None
    ) = Field(
        None,
        min_length=1,
        max_length=1000,
        description="LiteLLM's names of the models this tier may use; left out: all.",
    )


PriceId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.:-]{1,255}$", description="The id of a Stripe price."),
    Leaf('the id of a Stripe price, such as "price_123"', values.price_id_problem),
]
LookupKey = Annotated[
    str,
    Field(min_length=1, max_length=200, description="The lookup key of a Stripe price."),
    Leaf("a lookup key of 1 to 200 characters", values.text_problem),
]


class PriceShape(Shape):
    """One Stripe price, by `price_id` or by `lookup_key`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["price_id"]}, {"required": ["lookup_key"]}]},
    )
    price_id: PriceId = ""
    lookup_key: LookupKey = ""
    unit_amount: Annotated[
        int | None,
        Field(ge=0, le=MAX_LIMIT, description="In minor units (cents); compared with Stripe's and warned about."),
        Leaf("a whole number of minor units (cents) >= 0"),
    ] = None
    currency: Annotated[str | None, Field(pattern=r"^[a-z]{3}$"), Leaf('three lower-case letters, such as "usd"')] = (
        None
    )
    interval: Annotated[
        Literal["day", "week", "month", "year"] | None, Leaf('one of "day", "week", "month", "year"')
    ] = None
    interval_count: Annotated[
        int | None,
        Field(ge=1, le=1095, description="It is paid every so many intervals; 1 if left out."),
        Leaf("a whole number from 1 to 1095"),
    ] = None


class OtherPriceShape(Shape):
    """One Stripe price, by `price_id` or by `lookup_key`, or every price of a product, by `product_id`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["price_id"]}, {"required": ["lookup_key"]}, {"required": ["product_id"]}]
        },
    )
    price_id: PriceId = ""
    lookup_key: LookupKey = ""
    product_id: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.:-]{1,255}$", description="The id of a Stripe product: all of its prices."),
        Leaf('the id of a Stripe product, such as "prod_123"', values.product_id_problem),
    ] = ""


class TierShape(Shape):
    """A level of an app. The first tier is what everybody has without paying."""

    id: TierId
    name: Name
    prices: list[PriceShape] = Field(
        default_factory=list, max_length=100, description="Who pays one of these has this tier."
    )
    features: list[Feature] = Field(
        default_factory=list, max_length=500, description="Words for what this tier may do."
    )
    limits: LimitsShape | None = None
    traffic: TrafficShape | None = None
    internal: Flag = Field(False, description="Only granted by an operator; never sold or shown.")
    was: list[TierId] = Field(default_factory=list, max_length=100, description="Former ids of this tier.")


class RouteShape(Shape):
    """What it takes to pass below a path: nothing (`public`), or a tier, features or both."""

    path: RoutePath = Field(description="A prefix by whole segments: /a matches /a and /a/b, not /ab.")
    public: Flag = Field(False, description="Everybody may, signed in or not.")
    min_tier: TierId | None = Field(None, description="This tier or one after it in the list.")
    features: list[Feature] = Field(default_factory=list, max_length=100, description="All of these are needed.")
    methods: list[Method] = Field(
        default_factory=list, max_length=20, description="Only for these methods; left out: all."
    )


class LiteLLMShape(Shape):
    """How limits reach LiteLLM for the users of this app."""

    mode: Annotated[Literal["customer", "internal_user"], Leaf('one of "customer", "internal_user"')] = Field(
        description="customer: one shared key and a header (Open WebUI). internal_user: users with keys of their own."
    )
    user_id: Annotated[
        str,
        Field(min_length=1, max_length=150, description="The id at LiteLLM, made of {user_id} and {app_id}."),
        Leaf('a template such as "{app_id}:{user_id}"', values.user_id_template_problem),
    ] = "{user_id}"
    shared_key: SecretText | None = Field(
        None,
        description="Where the key is with which the app calls LiteLLM: skpay doctor proves with it that limits are "
        "enforced. internal_user: a key made for the LiteLLM user skpay-doctor-APP.",
    )
    user_header: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9-]{1,100}$", description="customer: the header that names the user to LiteLLM."),
        Leaf('the name of a header, such as "X-OpenWebUI-User-Id"'),
    ] = "X-OpenWebUI-User-Id"
    shared_users: Flag = Field(False, description="On each of them: apps may share their users at LiteLLM.")
    mixed_modes: Flag = Field(False, description="On each app: both modes may stand on one LiteLLM.")


class UrlsShape(Shape):
    """Where Stripe sends people back to."""

    success: WebUrl
    cancel: WebUrl


class NotifyShape(Shape):
    """Where the app itself is told of each change of a user's tier, by a signed POST (Standard Webhooks)."""

    url: WebUrl
    secret: SecretText = Field(description="Where the signing secret is: whsec_ and 24 to 64 bytes in base64.")


class AppShape(Shape):
    """One app behind the gate."""

    id: AppId
    name: Name
    hosts: list[Host] = Field(min_length=1, max_length=500, description="The host names at which people reach it.")
    upstream: Upstream
    api_key: SecretText | None = Field(
        None, description="Where its key for our API is; left out: keys are made with skpay keys create --app."
    )
    identity: list[IdentityShape] = Field(min_length=1, max_length=20)
    litellm: LiteLLMShape | None = None
    urls: UrlsShape
    grace: Annotated[
        str,
        Field(
            pattern=r"^(0|[1-9][0-9]{0,7})[smhd]$",
            description="How long a failed payment keeps the tier; 90d at most.",
        ),
        Leaf('a duration, such as "7d", "12h" or "0d"', values.grace_problem),
    ] = "7d"
    on_dispute: Annotated[Literal["hold", "keep"], Leaf('one of "hold", "keep"')] = Field(
        "hold", description="While a payment is disputed, and after a dispute was lost: the first tier, or no change."
    )
    on_full_refund: Annotated[Literal["keep", "hold"], Leaf('one of "keep", "hold"')] = Field(
        "keep", description="A payment was refunded in full: no change, or the first tier for what it had paid for."
    )
    anonymous: Annotated[Literal["tag", "refuse"], Leaf('one of "tag", "refuse"')] = Field(
        "tag", description="Whoever is not signed in: passed on with the first tier, or asked to sign in."
    )
    tiers: list[TierShape] = Field(min_length=1, max_length=100, description="From the least to the most.")
    routes: list[RouteShape] = Field(default_factory=list, max_length=2000)
    enforce: Flag = Field(True, description="false: tag, never refuse.")
    sign_in_url: WebUrl | None = None
    cors: list[WebOrigin] = Field(
        default_factory=list, max_length=100, description="Origins of web pages that may read the gate's refusals."
    )
    notify: NotifyShape | None = None
    assertion: Flag = Field(
        False, description="true: each request carries X-SK-Assertion too, a signed token that says what the tags say."
    )
    was: list[AppId] = Field(default_factory=list, max_length=100, description="Former ids of this app.")
    other_prices: list[OtherPriceShape] = Field(
        default_factory=list,
        max_length=500,
        description="Prices sold beside the tiers, such as seats or support: known, and they give no tier.",
    )


class DocumentShape(Shape):
    """SKPayments: the apps, their tiers and who may what."""

    model_config = ConfigDict(title="apps.json")
    schema_: Annotated[str, Leaf("a text")] | None = Field(None, alias="$schema")
    # Lists end somewhere, so that a file which is something else is told soon.
    apps: list[AppShape] = Field(max_length=5000)
    routing: RoutingShape = Field(default_factory=RoutingShape)
