"""Constructs the use cases' parts from the settings: for the server, and for a command while no server runs."""

from __future__ import annotations

import aiohttp

from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.context import Billing
from gateway.billing.events.webhook_state import WebhookState
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.litellm import LiteLLM
from gateway.settings import Settings
from gateway.stripe.client import Stripe
from gateway.stripe.ownership import signing_keys
from gateway.stripe.rate_limiter import RateLimiter
from gateway.stripe.transport import Transport


def billing_parts(settings: Settings, work: UnitOfWork, session: aiohttp.ClientSession, apps: InstalledApps) -> Billing:
    """`session` is used for Stripe and LiteLLM."""
    litellm = None
    if settings.litellm_url:
        litellm = LiteLLM(session, settings.litellm_url, settings.litellm_key, clock=work.clock)
    transport = Transport(
        session,
        settings.stripe_secret_key,
        api_base=settings.stripe_api_base,
        rate_limiter=RateLimiter(),
        clock=work.clock,
    )
    return Billing(
        work=work,
        stripe=Stripe(transport),
        litellm=litellm,
        apps=apps,
        account=StripeAccount(signing_keys(settings.admin_token)),
        webhooks=WebhookState(settings.stripe_webhook_secret),
    )
