"""The parts that use cases work with. A function takes the one or two it needs, or all of them as `Billing`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.events.webhook_state import WebhookState
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.price_book import PriceBook
from gateway.billing.reconcile.state import ReconcileState
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.billing.work.user_locks import UserLocks
from gateway.litellm import LiteLLM
from gateway.stripe.client import Stripe


@dataclass(slots=True)
class Billing:
    """One per process. `litellm` None: LITELLM_URL is not set."""

    work: UnitOfWork
    stripe: Stripe
    litellm: LiteLLM | None
    apps: InstalledApps
    account: StripeAccount
    webhooks: WebhookState
    prices: PriceBook = field(default_factory=PriceBook)
    locks: UserLocks = field(default_factory=UserLocks)
    reconciling: ReconcileState = field(default_factory=ReconcileState)
