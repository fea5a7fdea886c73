"""Which parameters the calls on checkout sessions take."""

from __future__ import annotations

from gateway.sandbox.stripe.params import (
    FLAG,
    METADATA,
    PAGE,
    TEXT,
    TEXT_KEPT,
    TIMES,
    URL,
    WHOLE,
    Hash,
    Many,
    OneOf,
    Spec,
    Whole,
)

_ENABLED = Hash({"enabled": FLAG}, needs=("enabled",))
_SUBSCRIPTION_DATA = Hash(
    {
        "billing_mode": Hash({"type": OneOf("classic", "flexible")}, needs=("type",)),
        "description": TEXT,
        "metadata": METADATA,
        "proration_behavior": OneOf("create_prorations", "none"),
        "trial_end": WHOLE,
        "trial_period_days": Whole(1, 730),
        "trial_settings": Hash(
            {
                "end_behavior": Hash(
                    {"missing_payment_method": OneOf("cancel", "create_invoice", "pause")},
                    needs=("missing_payment_method",),
                )
            },
            needs=("end_behavior",),
        ),
    }
)
_CREATE = {
    "adaptive_pricing": Hash({"enabled": FLAG}),
    "after_expiration": Hash({"recovery": Hash({"allow_promotion_codes": FLAG, "enabled": FLAG}, needs=("enabled",))}),
    "allow_promotion_codes": FLAG,
    "automatic_tax": _ENABLED,
    "billing_address_collection": OneOf("auto", "required"),
    "cancel_url": URL,
    "client_reference_id": TEXT,
    "customer": TEXT_KEPT,
    "customer_email": TEXT_KEPT,
    "customer_update": Hash(dict.fromkeys(("address", "name", "shipping"), OneOf("auto", "never"))),
    "discounts": Many(Hash({"coupon": TEXT, "promotion_code": TEXT})),
    "expires_at": WHOLE,
    "line_items": Many(Hash({"price": TEXT_KEPT, "quantity": Whole(1, 999_999)}, needs=("price",)), most=100),
    "locale": TEXT,
    "metadata": METADATA,
    "mode": OneOf("payment", "setup", "subscription"),
    "payment_method_collection": OneOf("always", "if_required"),
    "phone_number_collection": _ENABLED,
    "subscription_data": _SUBSCRIPTION_DATA,
    "success_url": URL,
    "tax_id_collection": _ENABLED,
    "ui_mode": OneOf("hosted_page"),
}
_FILTERS = {
    **PAGE,
    "created": TIMES,
    "customer": TEXT_KEPT,
    "status": OneOf("complete", "expired", "open"),
    "subscription": TEXT_KEPT,
}
NEW_SESSION = Spec(_CREATE, needs=("mode", "line_items", "success_url"))
FILTERS = Spec(_FILTERS)
UPDATE = Spec({"metadata": METADATA})
LINES = Spec(PAGE)
