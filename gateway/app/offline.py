"""The use cases for a command while no server runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp

from gateway.app.billing_parts import billing_parts
from gateway.app.catalog_file import CatalogFile
from gateway.billing.accounts.account import AccountCheck, binding
from gateway.billing.checkout.prices import load_known_prices
from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.settings import Settings
from gateway.store import Store


@contextlib.asynccontextmanager
async def offline_billing(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Billing]:
    """Billing on a store of its own; the instance lock prevents a server from starting meanwhile.

    Jobs that it leaves are done by the next server. Raises `ConfigError`, also for a key of another Stripe account,
    and `UpstreamFailed` if Stripe does not answer for the key's account.
    """
    catalog, _ = CatalogFile(settings, environ).read()
    async with contextlib.AsyncExitStack() as stack:
        store = await asyncio.to_thread(Store.open, settings.database_url)
        stack.push_async_callback(store.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        billing = billing_parts(settings, UnitOfWork(store, time.time), session, InstalledApps(catalog))
        await AccountCheck(billing, await store.read(binding)).run()
        await load_known_prices(billing)
        yield billing
