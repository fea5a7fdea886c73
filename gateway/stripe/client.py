"""One Stripe account: its resources, each with typed methods."""

from __future__ import annotations

from gateway.stripe.checkout_sessions import CheckoutSessions
from gateway.stripe.customers import Customers
from gateway.stripe.disputes import Disputes
from gateway.stripe.events import Events
from gateway.stripe.invoices import Invoices
from gateway.stripe.permissions import Permissions
from gateway.stripe.portal import Portal
from gateway.stripe.prices import Prices
from gateway.stripe.subscriptions import Subscriptions
from gateway.stripe.transport import Transport
from gateway.stripe.webhook_endpoints import WebhookEndpoints


class Stripe:
    """One Stripe account. Every method raises `UpstreamFailed`, mostly as its subclass `StripeError`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.checkout_sessions = CheckoutSessions(transport)
        self.customers = Customers(transport)
        self.disputes = Disputes(transport)
        self.events = Events(transport)
        self.invoices = Invoices(transport)
        self.permissions = Permissions(transport)
        self.portal = Portal(transport)
        self.prices = Prices(transport)
        self.subscriptions = Subscriptions(transport)
        self.webhook_endpoints = WebhookEndpoints(transport)

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
