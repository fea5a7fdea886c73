"""The customer portal: its configurations, and sessions that lead a customer into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.stripe.errors import StripeError, StripeNotFound
from gateway.stripe.transport import Transport
from gateway.urls import api_path

MAX_PRODUCTS = 10
"""Stripe's limit of `features.subscription_update.products`."""
_CONFIGURATIONS = "/v1/billing_portal/configurations"


@dataclass(frozen=True, slots=True)
class PortalConfiguration:
    """What the portal of one app offers: the prices of each product that a customer can change to."""

    app_id: str
    return_url: str
    products: Mapping[str, Sequence[str]]

    @property
    def digest(self) -> str:
        """Differs as soon as anything is to be written differently at Stripe."""
        return hashlib.sha256(json.dumps(_params(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PlanChange:
    """A change of plan to confirm in the portal: one item of one subscription gets another price."""

    subscription_id: str
    item_id: str
    price_id: str


class Portal:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create_configuration(self, configuration: PortalConfiguration, idempotency_key: str) -> str:
        """Returns its id."""
        params = _params(configuration)
        return str((await self._transport.post(_CONFIGURATIONS, params, idempotency_key=idempotency_key))["id"])

    async def update_configuration(self, configuration_id: str, configuration: PortalConfiguration) -> bool:
        """False if Stripe has no configuration of this id."""
        path = api_path("v1/billing_portal/configurations", configuration_id)
        try:
            await self._transport.post(path, _params(configuration))
        except StripeNotFound as exc:
            if exc.status != 404:  # it is a product or price that is missing
                raise
            return False
        return True

    async def differences(self, configuration_id: str, configuration: PortalConfiguration) -> list[str]:
        """Where Stripe has other values than these; a line for each. Raises `StripeNotFound`."""
        found = await self._transport.get(api_path("v1/billing_portal/configurations", configuration_id))
        return list(_differences("", _params(configuration), found))

    async def create_session(
        self,
        customer_id: str,
        configuration_id: str,
        return_url: str,
        *,
        change: PlanChange | None = None,
        changed_url: str = "",
    ) -> str:
        """A short-lived URL, never to be logged. With `change`, its page confirms that and leads to `changed_url`.

        Raises a `StripeError` for which `is_configuration_unusable` holds where the configuration is gone or inactive.
        """
        params: dict[str, object] = {"customer": customer_id, "return_url": return_url}
        if change is not None:
            params["flow_data"] = _flow_data(change, changed_url)
        params["configuration"] = configuration_id
        return str((await self._transport.post("/v1/billing_portal/sessions", params))["url"])


def is_configuration_unusable(error: StripeError) -> bool:
    """Whether a portal session was refused because its configuration was deactivated or deleted at Stripe."""
    return error.param == "configuration"


def _params(configuration: PortalConfiguration) -> dict[str, object]:
    """What is written at Stripe.

    Stripe's own defaults would give upgrades away: `proration_behavior` is `none` there, so that enterprise on day 1
    and back on day 29 costs nothing (T17). Downgrades wait for the period's end; quantities cannot be changed.
    """
    products = configuration.products
    at_end = [{"type": "decreasing_item_amount"}, {"type": "shortening_interval"}]
    return {
        "default_return_url": configuration.return_url,
        "metadata": {"app_id": configuration.app_id},
        "login_page": {"enabled": False},
        "features": {
            "customer_update": {"enabled": False},
            "invoice_history": {"enabled": True},
            "payment_method_update": {"enabled": True},
            "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
            "subscription_update": {
                "enabled": bool(products),
                "default_allowed_updates": ["price"],
                "proration_behavior": "always_invoice",
                "products": [{"product": product, "prices": list(prices)} for product, prices in products.items()],
                "schedule_at_period_end": {"conditions": at_end},
            },
        },
    }


def _flow_data(change: PlanChange, changed_url: str) -> dict[str, object]:
    return {
        "type": "subscription_update_confirm",
        "subscription_update_confirm": {
            "subscription": change.subscription_id,
            "items": [{"id": change.item_id, "price": change.price_id, "quantity": 1}],
        },
        "after_completion": {"type": "redirect", "redirect": {"return_url": changed_url}},
    }


def _differences(path: str, expected: Any, found: Any) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            yield from _differences(f"{path}.{key}".lstrip("."), value, found.get(key))
    elif _comparable(expected) != _comparable(found):
        shown = f"{found!r}, not {expected!r}" if not isinstance(expected, list) else "other entries than ours"
        yield f"{path}: {shown}"


_WRITTEN = ("product", "prices", "type")


def _comparable(value: Any) -> Any:
    """Without an order, and of each entry only the keys that we write."""
    if not isinstance(value, list):
        return value
    entries = (
        {name: _comparable(part) for name, part in each.items() if name in _WRITTEN} if isinstance(each, dict) else each
        for each in value
    )
    return sorted(entries, key=str)
