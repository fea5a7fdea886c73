"""One Stripe account: its resources, each with typed methods."""

from __future__ import annotations

from gateway.stripe.transport import Transport


class Stripe:
    """One Stripe account, as `transport` reaches it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

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
        """Stripe's `Date` of its last answer, in epoch seconds; None before its first."""
        return self.transport.date
