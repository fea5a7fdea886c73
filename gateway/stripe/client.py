"""One Stripe account: its resources, each with typed methods."""

from __future__ import annotations

from gateway.stripe.checkout_sessions import CheckoutSessions
from gateway.stripe.customers import Customers
from gateway.stripe.events import Events
from gateway.stripe.portal import Portal
from gateway.stripe.prices import Prices
from gateway.stripe.transport import Transport


class Stripe:
    """One Stripe account. Every method raises `UpstreamFailed`, mostly as its subclass `StripeError`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.checkout_sessions = CheckoutSessions(transport)
        self.customers = Customers(transport)
        self.events = Events(transport)
        self.portal = Portal(transport)
        self.prices = Prices(transport)

    @property
    def livemode(self) -> bool:
        """True if our key is a live one."""
        return self.transport.livemode

    @property
    def clock_ahead_seconds(self) -> int | None:
        """How far our clock is ahead of Stripe's; None before Stripe's first answer."""
        return self.transport.clock_ahead_seconds

    @property
    def date(self) -> int | None:
        """Stripe's `Date` of its last answer, in epoch seconds; None before the first."""
        return self.transport.date

    async def account_id(self) -> str:
        """The id of the account that our key belongs to. A restricted key gets `PermissionDenied`."""
        return str((await self.transport.get("/v1/account")).get("id") or "")
