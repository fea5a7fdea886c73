"""What an operator does in the Dashboard and a test from outside: seed, advance the clock, order failures, inspect."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from gateway.sandbox.stripe import account, billing, charges, clock, disputes, products
from gateway.sandbox.stripe.account_state import API_VERSION, CARDS, KINDS, AccountState, Card, Settings
from gateway.sandbox.stripe.api import Api
from gateway.sandbox.stripe.deliveries import Deliverer
from gateway.sandbox.stripe.faults import Effect, Fault, Faults
from gateway.sandbox.stripe.old_api_version import OLD_VERSION
from gateway.sandbox.stripe.refusal import invalid
from gateway.sandbox.stripe.snapshots import rendered

Json = dict[str, Any]
Shape = Literal["endive", "2024"]
_VERSIONS: dict[Shape, str] = {"endive": API_VERSION, "2024": OLD_VERSION}


class Dashboard:
    """One Stripe account in test mode, all in memory.

    `webhook_url` with `webhook_secret` makes a first webhook endpoint for every event. `shape="2024"` renders
    events as before basil. `public_url` is where the sandbox itself is reached; set it once the port is known.
    """

    def __init__(
        self,
        *,
        secret_key: str = "sk_test_sandbox",  # noqa: S107  (a fake account's key, good for nothing else)
        webhook_secret: str = "whsec_sandbox",  # noqa: S107  (likewise)
        webhook_url: str | None = None,
        public_url: str = "http://127.0.0.1",
        now: Callable[[], float] = time.time,
        shape: Shape = "endive",
        account_id: str = "acct_sandbox",
        settings: Settings | None = None,
        retry_seconds: Sequence[float] = (0.2, 0.5, 1, 2, 4),
        delivery_timeout_seconds: float = 10,
        rate_limit: int | None = None,
    ) -> None:
        self.state = AccountState(
            wall=now,
            account_id=account_id,
            settings=settings or Settings(),
            event_version=_VERSIONS[shape],
            public_url=public_url.rstrip("/"),
        )
        self.secret_keys = {secret_key}
        self.faults = Faults()
        self.api = Api(self.state, self.secret_keys, self.faults, rate_limit)
        self.deliveries = Deliverer(
            self.state, retry_seconds=retry_seconds, timeout_seconds=delivery_timeout_seconds, wall=now
        )
        self.state.on_event = self.deliveries.announce
        if webhook_url is not None:
            self.add_endpoint(webhook_url, webhook_secret)

    @property
    def account_id(self) -> str:
        """`acct_…`."""
        return self.state.account_id

    @property
    def settings(self) -> Settings:
        """What the Dashboard would set; change it at any time."""
        return self.state.settings

    @property
    def public_url(self) -> str:
        """Where links to the sandbox's pages point."""
        return self.state.public_url

    @public_url.setter
    def public_url(self, url: str) -> None:
        self.state.public_url = url.rstrip("/")

    @property
    def shape(self) -> Shape:
        """The shape of new events; existing ones keep theirs."""
        return "endive" if self.state.event_version == API_VERSION else "2024"

    @shape.setter
    def shape(self, shape: Shape) -> None:
        self.state.event_version = _VERSIONS[shape]

    def add_product(self, name: str, *, product_id: str | None = None) -> Json:
        """Seed a product."""
        params = {"name": name} if product_id is None else {"name": name, "id": product_id}
        return self._copy(products.make_product(self.state, params))

    def add_price(
        self,
        product: str | Json,
        unit_amount: int,
        currency: str = "usd",
        interval: str | None = "month",
        interval_count: int = 1,
        *,
        lookup_key: str | None = None,
        price_id: str | None = None,
    ) -> Json:
        """Seed a price, under an id of the caller's choice if wanted; `interval` None makes it one-time."""
        params: Json = {
            "product": product if isinstance(product, str) else product["id"],
            "unit_amount": unit_amount,
            "currency": currency,
            "lookup_key": lookup_key,
        }
        if interval is not None:
            params["recurring"] = {"interval": interval, "interval_count": interval_count}
        return self._copy(products.make_price(self.state, params, price_id))

    def add_endpoint(self, url: str, secret: str, *, api_version: str | None = None) -> Json:
        """One more webhook endpoint, with a secret of the caller's choice."""
        params = {"url": url, "enabled_events": ["*"], "api_version": api_version}
        return self._copy(account.make_endpoint(self.state, params, secret))

    def add_destination(self, url: str, enabled_events: Sequence[str]) -> Json:
        """A v2 destination for thin events, to be listed."""
        return self._copy(account.make_destination(self.state, url, list(enabled_events)))

    def advance(self, seconds: float) -> None:
        """Move the clock and let happen what that brings. Event times follow it; signatures keep the real time."""
        self.state.offset_seconds += seconds
        clock.settle(self.state)

    def set_card(self, customer_id: str, card: Card | Literal["none"]) -> None:
        """Set the card of a customer."""
        self.state.active_customer(customer_id, param=None)
        if card == "none":
            self.state.cards.pop(customer_id, None)
        elif card in CARDS:
            self.state.cards[customer_id] = card
        else:
            raise invalid("card must be ok, fail, action or none", param="card")

    def renew(self, subscription_id: str, card: Card | None = None) -> Json | None:
        """The next renewal at once, with its outcome; the invoice, or None where nothing renews."""
        subscription = self.state.find("subscription", subscription_id)
        invoice = clock.renew_now(self.state, subscription, card=card)
        return None if invoice is None else self._copy(invoice)

    def fail_next_renewal(self, subscription_id: str) -> Json | None:
        """Renew now with a failing card: past_due with an open invoice."""
        return self.renew(subscription_id, "fail")

    def pay_open_invoice(self, subscription_id: str) -> Json | None:
        """Pay the newest open invoice; None where there is none."""
        invoice = clock.pay_open(self.state, self.state.find("subscription", subscription_id))
        return None if invoice is None else self._copy(invoice)

    def cancel(self, subscription_id: str, reason: str = "cancellation_requested") -> None:
        """End a subscription at once, as from the Dashboard or by a dispute."""
        billing.cancel_now(self.state, self.state.find("subscription", subscription_id), reason)

    def dispute(self, subscription_id: str, status: str = "needs_response", reason: str = "fraudulent") -> Json:
        """Dispute what was charged last for a subscription, or move that dispute on; `status` as Stripe's."""
        charge = charges.newest_of(self.state, self.state.find("subscription", subscription_id))
        return self._copy(disputes.bring(self.state, charge, status, reason))

    def refund(self, subscription_id: str, amount: int | None = None) -> Json:
        """Give back what was charged last for a subscription, or a part of it."""
        charge = charges.newest_of(self.state, self.state.find("subscription", subscription_id))
        return self._copy(charges.refund_charge(self.state, charge, amount))

    def warn_of_fraud(self, subscription_id: str) -> Json:
        """An early fraud warning about what was charged last for a subscription."""
        charge = charges.newest_of(self.state, self.state.find("subscription", subscription_id))
        return self._copy(charges.warn_of_fraud(self.state, charge))

    def emit(self, event_type: str, obj: Json) -> Json:
        """An event of any type about any object: what the sandbox does not act out, such as payout.paid."""
        return self._copy(self.state.emit(event_type, obj))

    def fault(self, effect: Effect, path: str = ".*", method: str = ".*", **more: Any) -> Fault:
        """Order a failure; see `Fault` for the effects and their details."""
        return self.faults.add(Fault(effect, path, method, **more))

    def snapshot(self) -> dict[str, list[Json]]:
        """Everything there is, by kind, as the API would show it."""
        return {kind: [self._copy(obj) for obj in self.state.all(kind)] for kind in KINDS}

    def with_metadata(self, kind: str, key: str, value: str) -> list[Json]:
        """Those of a kind with this metadata, as the API would show them."""
        return [self._copy(obj) for obj in self.state.all(kind) if (obj.get("metadata") or {}).get(key) == value]

    def _copy(self, obj: Json) -> Json:
        copied: Json = rendered(self.state, obj)
        return copied
