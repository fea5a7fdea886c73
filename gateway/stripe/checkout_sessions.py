"""Checkout sessions at Stripe."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.stripe.errors import StripeError
from gateway.stripe.fields import Raw, instant, optional_text, reference_id, required_text
from gateway.stripe.ownership import session_metadata
from gateway.stripe.transport import Transport
from gateway.urls import api_path

_SESSIONS = "/v1/checkout/sessions"


@dataclass(frozen=True, slots=True)
class NewCheckoutSession:
    """One subscription to one price, for one user of an app."""

    app_id: str
    user_id: str
    customer_id: str
    price_id: str
    success_url: str
    cancel_url: str


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    """A checkout session as Stripe has it. `subscription_id` None: not completed yet.

    `is_unpaid`: Stripe has no payment for it yet, also where it was completed with a delayed payment method.
    """

    session_id: str
    customer_id: str | None
    is_open: bool
    is_complete: bool
    is_unpaid: bool
    url: str
    success_url: str | None
    subscription_id: str | None
    created_at: int | None
    expires_at: int


class CheckoutSessions:
    """Methods that take a session id raise `StripeNotFound` where Stripe has no such session."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, new: NewCheckoutSession, idempotency_key: str) -> CheckoutSession:
        # Customer, session and subscription do not inherit each other's metadata.
        metadata = session_metadata(new.app_id, new.user_id)
        params = {
            "mode": "subscription",
            "customer": new.customer_id,
            "client_reference_id": new.user_id,
            "line_items": [{"price": new.price_id, "quantity": 1}],
            "success_url": new.success_url,
            "cancel_url": new.cancel_url,
            "metadata": metadata,
            "subscription_data": {"metadata": metadata},
        }
        return read_session(await self._transport.post(_SESSIONS, params, idempotency_key=idempotency_key))

    async def get(self, session_id: str) -> CheckoutSession:
        return read_session(await self._transport.get(api_path("v1/checkout/sessions", session_id)))

    async def open_sessions(self, customer_id: str) -> list[CheckoutSession]:
        query = {"customer": customer_id, "status": "open"}
        return [read_session(raw) async for raw in self._transport.list_all(_SESSIONS, query)]

    async def expire(self, session_id: str) -> bool:
        """Make the session unpayable. False if it was completed in this moment."""
        try:
            await self._transport.post(api_path("v1/checkout/sessions", session_id, "expire"), {})
        except StripeError as exc:
            if exc.status != 400:
                raise
            session = await self.get(session_id)
            if session.is_open:  # refused for another reason: no second session may be opened beside it
                raise
            return not session.is_complete
        return True


def read_session(raw: Raw) -> CheckoutSession:
    status = raw.get("status")
    return CheckoutSession(
        session_id=required_text(raw, "id", "checkout session"),
        customer_id=reference_id(raw.get("customer")),
        is_open=status == "open",
        is_complete=status == "complete",
        is_unpaid=raw.get("payment_status") == "unpaid",
        url=str(raw.get("url") or ""),
        success_url=optional_text(raw.get("success_url")),
        subscription_id=reference_id(raw.get("subscription")),
        created_at=instant(raw.get("created")),
        expires_at=instant(raw.get("expires_at")) or 0,
    )
