"""Which parameters the billing portal's calls take."""

from __future__ import annotations

from gateway.sandbox.stripe.params import (
    FLAG,
    METADATA,
    PAGE,
    TEXT,
    TEXT_KEPT,
    URL,
    Hash,
    Kind,
    Many,
    OneOf,
    Spec,
    Whole,
)

_PRORATION = OneOf("always_invoice", "create_prorations", "none")
_ENABLED = Hash({"enabled": FLAG}, needs=("enabled",))
_REASONS = OneOf(
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
_PRODUCT = Hash({"prices": Many(TEXT_KEPT), "product": TEXT_KEPT}, needs=("prices", "product"))
_UPDATE: dict[str, Kind] = {
    "billing_cycle_anchor": OneOf("now", "unchanged"),
    "default_allowed_updates": Many(OneOf("price", "promotion_code", "quantity")),
    "enabled": FLAG,
    "products": Many(_PRODUCT, most=10),
    "proration_behavior": _PRORATION,
    "schedule_at_period_end": Hash(
        {
            "conditions": Many(
                Hash({"type": OneOf("decreasing_item_amount", "shortening_interval")}, needs=("type",)), most=2
            )
        }
    ),
    "trial_update_behavior": OneOf("continue_trial", "end_trial"),
}
_CANCEL: dict[str, Kind] = {
    "cancellation_reason": Hash({"enabled": FLAG, "options": Many(_REASONS)}, needs=("enabled", "options")),
    "enabled": FLAG,
    "mode": OneOf("at_period_end", "immediately"),
    "proration_behavior": _PRORATION,
}


def _features(*, new: bool) -> Hash:
    needs = ("enabled",) if new else ()
    updates = Many(OneOf("address", "email", "name", "phone", "shipping", "tax_id"))
    return Hash(
        {
            "customer_update": Hash({"allowed_updates": updates, "enabled": FLAG}, needs=needs),
            "invoice_history": _ENABLED,
            "payment_method_update": _ENABLED,
            "subscription_cancel": Hash(_CANCEL, needs=needs),
            "subscription_pause": Hash({"enabled": FLAG}),
            "subscription_update": Hash(_UPDATE, needs=needs),
        }
    )


_PROFILE = Hash({"headline": TEXT, "privacy_policy_url": URL, "terms_of_service_url": URL})
_COMMON: dict[str, Kind] = {
    "business_profile": _PROFILE,
    "default_return_url": URL,
    "login_page": _ENABLED,
    "metadata": METADATA,
    "name": TEXT,
}
CONFIGURATION = (
    Spec({**_COMMON, "features": _features(new=True)}, needs=("features",)),
    Spec({**_COMMON, "active": FLAG, "features": _features(new=False)}),
)
PAGED = Spec({**PAGE, "active": FLAG, "is_default": FLAG})
_OF_SUBSCRIPTION = Hash({"subscription": TEXT_KEPT}, needs=("subscription",))
_CONFIRM_ITEM = Hash({"id": TEXT_KEPT, "price": TEXT_KEPT, "quantity": Whole(0, 999_999)}, needs=("id",))
NEW_SESSION = Spec(
    {
        "configuration": TEXT_KEPT,
        "customer": TEXT_KEPT,
        "flow_data": Hash(
            {
                "after_completion": Hash(
                    {
                        "hosted_confirmation": Hash({"custom_message": TEXT}),
                        "redirect": Hash({"return_url": URL}, needs=("return_url",)),
                        "type": OneOf("hosted_confirmation", "portal_homepage", "redirect"),
                    },
                    needs=("type",),
                ),
                "subscription_cancel": _OF_SUBSCRIPTION,
                "subscription_update": _OF_SUBSCRIPTION,
                "subscription_update_confirm": Hash(
                    {"items": Many(_CONFIRM_ITEM, most=1), "subscription": TEXT_KEPT}, needs=("items", "subscription")
                ),
                "type": OneOf(
                    "payment_method_update",
                    "subscription_cancel",
                    "subscription_update",
                    "subscription_update_confirm",
                ),
            },
            needs=("type",),
        ),
        "locale": TEXT,
        "return_url": URL,
    },
    needs=("customer",),
)
