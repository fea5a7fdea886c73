"""What our API key may do at Stripe."""

from __future__ import annotations

import asyncio

from gateway.stripe.errors import AuthenticationFailed, PermissionDenied
from gateway.stripe.transport import Transport

# As the Dashboard names the permissions of a restricted key.
_READABLE = {
    "Checkout Sessions": "/v1/checkout/sessions", "Customers": "/v1/customers",
    "Customer portal": "/v1/billing_portal/configurations", "Subscriptions": "/v1/subscriptions",
    "Invoices": "/v1/invoices", "Prices": "/v1/prices", "Products": "/v1/products", "Events": "/v1/events",
    "Webhook Endpoints": "/v1/webhook_endpoints", "Charges": "/v1/charges", "Disputes": "/v1/disputes",
    "Radar": "/v1/radar/early_fraud_warnings",
}  # fmt: skip


class Permissions:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def check_key(self) -> None:
        """Return if Stripe knows the key. Raises `AuthenticationFailed` if not."""
        await self._transport.get("/v1/prices", {"limit": 1})

    async def missing_to_read(self) -> list[str]:
        """The names of the resources that the key may not read. Whether it may write them cannot be asked."""
        denied = await asyncio.gather(*(self._is_denied(path) for path in _READABLE.values()))
        return [name for name, is_denied in zip(_READABLE, denied, strict=True) if is_denied]

    async def _is_denied(self, path: str) -> bool:
        try:
            await self._transport.get(path, {"limit": 1})
        except (AuthenticationFailed, PermissionDenied):
            return True
        return False
