"""The shape of apps.json, value by value, as pydantic models: what is checked, and what the JSON schema says. Pure.

Rules between values are in `rules`; they run over the raw tree, because pydantic skips them once a field has failed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.catalog import values
from gateway.catalog.identity.registry import IdentityShape
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
from gateway.catalog.litellm_id import DEFAULT_TEMPLATE, template_problem
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
        Field(pattern=r"^[1-9][0-9]{0,3}(s|m|h|d|w|mo)$", description="How often the spend is reset to 0."),
        Leaf('a duration of LiteLLM, such as "1d" (s, m, h, d, w or mo)'),
    ] = "1d"
    tpm_limit: Limit = Field(None, description="Tokens per minute; null is unlimited.")
    rpm_limit: Limit = Field(None, description="Requests per minute; null is unlimited.")
    models: (
        list[Annotated[str, Field(min_length=1, max_length=200), Leaf("the name of a model", values.text_problem)]]
        | None
    ) = Field(
        None,
        min_length=1,
        max_length=1000,
        description="The models this tier may use, by their names in LiteLLM. Default: all.",
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
        Field(
            ge=0, le=MAX_LIMIT, description="In minor units (cents). A difference from Stripe's amount opens an alert."
        ),
        Leaf("a whole number of minor units (cents) >= 0"),
    ] = None
    currency: Annotated[
        str | None,
        Field(pattern=r"^[a-z]{3}$", description="Compared with Stripe's price, as unit_amount is."),
        Leaf('three lower-case letters, such as "usd"'),
    ] = None
    interval: Annotated[
        Literal["day", "week", "month", "year"] | None, Leaf('one of "day", "week", "month", "year"')
    ] = Field(None, description="The billing interval. Compared with Stripe's price, as unit_amount is.")
    interval_count: Annotated[
        int | None,
        Field(ge=1, le=1095, description="The number of intervals between two payments. Default: 1."),
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
    """A level of an app. The first tier is the default tier: every user has it without paying."""

    id: TierId = Field(description="Sent to the app as X-SK-Tier.")
    name: Name = Field(description="Shown to buyers.")
    prices: list[PriceShape] = Field(
        default_factory=list, max_length=100, description="The Stripe prices that give this tier."
    )
    features: list[Feature] = Field(
        default_factory=list,
        max_length=500,
        description="Names of what this tier may do, for route rules and X-SK-Features.",
    )
    limits: LimitsShape | None = Field(None, description="What LiteLLM allows. Required if the app has litellm.")
    traffic: TrafficShape | None = Field(None, description="Rate limits in Traefik. Not with labels.")
    internal: Flag = Field(False, description="Granted by an operator only; never sold or shown.")
    was: list[TierId] = Field(default_factory=list, max_length=100, description="Former ids of this tier.")


class RouteShape(Shape):
    """A rule for a path and everything below it: public, or a required tier, features or both."""

    path: RoutePath = Field(description="A prefix of whole segments: /a matches /a and /a/b, but not /ab.")
    public: Flag = Field(False, description="Open to everybody, signed in or not.")
    min_tier: TierId | None = Field(None, description="The lowest tier that passes, by its position in tiers.")
    features: list[Feature] = Field(
        default_factory=list, max_length=100, description="The tier must have all of these."
    )
    methods: list[Method] = Field(
        default_factory=list, max_length=20, description="The methods that the rule applies to. Default: all."
    )


class LiteLLMShape(Shape):
    """How limits reach LiteLLM for the users of this app."""

    mode: Annotated[Literal["customer", "internal_user"], Leaf('one of "customer", "internal_user"')] = Field(
        description="customer: one shared key and a header with the user's id (Open WebUI). internal_user: each user "
        "has a key."
    )
    user_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=150,
            description="A template for the user's id in LiteLLM, with {user_id} and {app_id}.",
        ),
        Leaf('a template such as "{app_id}:{user_id}"', template_problem),
    ] = DEFAULT_TEMPLATE
    shared_key: SecretText | None = Field(
        None,
        description="The key with which the app calls LiteLLM; skpay doctor uses it to prove that limits are "
        "enforced. internal_user: a key of the LiteLLM user skpay-doctor-APP.",
    )
    user_header: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9-]{1,100}$", description="customer: the header that names the user to LiteLLM."),
        Leaf('the name of a header, such as "X-OpenWebUI-User-Id"'),
    ] = "X-OpenWebUI-User-Id"
    shared_users: Flag = Field(False, description="Set in each app of one LiteLLM whose users have the same ids there.")
    mixed_modes: Flag = Field(False, description="Set in each app to accept both modes on one LiteLLM.")


class UrlsShape(Shape):
    """Where Stripe redirects buyers to."""

    success: WebUrl = Field(description="After a payment.")
    cancel: WebUrl = Field(description="After leaving the checkout without paying.")


class NotifyShape(Shape):
    """Notices of tier changes to the app's backend, as Standard Webhooks."""

    url: WebUrl = Field(description="Receives a signed POST for each change of tier.")
    secret: SecretText = Field(description="The signing secret: whsec_ and 24 to 64 bytes in base64.")


class AppShape(Shape):
    """One app behind the gate."""

    id: AppId = Field(description="Used in API paths, metrics and LiteLLM budgets, and sent as X-SK-App.")
    name: Name = Field(description="Shown to buyers.")
    hosts: list[Host] = Field(min_length=1, max_length=500, description="The host names of the app, without scheme.")
    upstream: Upstream
    api_key: SecretText | None = Field(
        None, description="The app's key for this API. Default: none; create keys with skpay keys create --app."
    )
    identity: list[IdentityShape] = Field(
        min_length=1, max_length=20, description="Where the users' credentials are, in order of precedence."
    )
    litellm: LiteLLMShape | None = Field(None, description="How users are provisioned in LiteLLM. Default: not at all.")
    urls: UrlsShape = Field(description="Where Stripe redirects buyers to.")
    grace: Annotated[
        str,
        Field(
            pattern=r"^(0|[1-9][0-9]{0,7})[smhd]$",
            description="How long a tier is kept after a failed payment, 90d at most.",
        ),
        Leaf('a duration, such as "7d", "12h" or "0d"', values.grace_problem),
    ] = "7d"
    on_dispute: Annotated[Literal["hold", "keep"], Leaf('one of "hold", "keep"')] = Field(
        "hold", description="During a dispute and after a lost one: the default tier (hold), or no change (keep)."
    )
    on_full_refund: Annotated[Literal["keep", "hold"], Leaf('one of "keep", "hold"')] = Field(
        "keep", description="After a full refund: no change (keep), or the default tier for the refunded period (hold)."
    )
    anonymous: Annotated[Literal["tag", "refuse"], Leaf('one of "tag", "refuse"')] = Field(
        "tag", description="Requests without a sign-in: forwarded with the default tier (tag), or refused (refuse)."
    )
    tiers: list[TierShape] = Field(min_length=1, max_length=100, description="From the lowest to the highest.")
    routes: list[RouteShape] = Field(
        default_factory=list, max_length=2000, description="What paths require. A path without a rule is open to all."
    )
    enforce: Flag = Field(True, description="false: set the headers, but refuse nothing.")
    sign_in_url: WebUrl | None = Field(None, description="Where browsers without a sign-in are redirected to.")
    cors: list[WebOrigin] = Field(
        default_factory=list,
        max_length=100,
        description="Origins of web pages that may read the gate's error responses.",
    )
    notify: NotifyShape | None = Field(None, description="Notices of tier changes to the app's backend.")
    assertion: Flag = Field(
        False,
        description="Add X-SK-Assertion to each request: a signed token with the user, the tier and the features.",
    )
    was: list[AppId] = Field(default_factory=list, max_length=100, description="Former ids of this app.")
    other_prices: list[OtherPriceShape] = Field(
        default_factory=list,
        max_length=500,
        description="Prices that are sold beside the tiers, such as seats or support. They give no tier.",
    )


class DocumentShape(Shape):
    """The apps, their tiers and their access rules."""

    model_config = ConfigDict(title="apps.json")
    schema_: Annotated[str, Leaf("a text")] | None = Field(
        None, alias="$schema", description="The JSON schema, for editors; not read here."
    )
    # Lists are bounded, so that a file with other content is refused early.
    apps: list[AppShape] = Field(max_length=5000, description="One entry per app.")
    routing: RoutingShape = Field(
        default_factory=RoutingShape, description="How Traefik reaches this service and the apps."
    )
