"""The use cases for a command while no server runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp

from gateway.app.catalog_file import CatalogFile
from gateway.billing.accounts.account import AccountCheck, binding
from gateway.billing.checkout.prices import load_known_prices
from gateway.billing.context import Billing
from gateway.litellm import LiteLLM
from gateway.settings import Settings
from gateway.store import Store
from gateway.stripe.client import Stripe
from gateway.stripe.ownership import signing_keys
from gateway.stripe.transport import Transport


@contextlib.asynccontextmanager
async def offline_billing(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Billing]:
    """Billing on a store of its own; the instance lock prevents a server from starting meanwhile.

    Jobs that it leaves are done by the next server. Raises `ConfigError`, also for a key of another Stripe account,
    and `UpstreamFailed` if Stripe cannot be asked for the key's account.
    """
    catalog, _ = CatalogFile(settings, environ).read()
    async with contextlib.AsyncExitStack() as stack:
        store = await asyncio.to_thread(Store.open, settings.database_url)
        stack.push_async_callback(store.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        billing = Billing(
            store=store,
            stripe=Stripe(Transport(session, settings.stripe_secret_key, api_base=settings.stripe_api_base)),
            litellm=LiteLLM(session, settings.litellm_url, settings.litellm_key) if settings.litellm_url else None,
            catalog=catalog,
            webhook_secrets=settings.stripe_webhook_secret,
            public_url=settings.public_url,
            clock=time.time,
            update_gate=lambda app_id, user_id, tier_id, changes_at: None,
            signing_keys=signing_keys(settings.admin_token),
        )
        await AccountCheck(billing, await store.read(binding)).ask()
        await load_known_prices(billing)
        yield billing
