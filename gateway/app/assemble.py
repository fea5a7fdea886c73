"""Constructs the parts of the main process, each from parts constructed before it. Nothing is served yet."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from gateway.app.billing_parts import billing_parts
from gateway.app.gate_figures import GateFigures
from gateway.app.gate_follower import GateFollower
from gateway.app.gate_parts import Clock, GateParts, gate_parts
from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.provision.first_seen_users import FirstSeenUserQueue
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import EMPTY_CATALOG
from gateway.metrics import Registry
from gateway.settings import Settings
from gateway.store import Store


@dataclass(frozen=True, slots=True)
class Parts(GateParts):
    """What the main process consists of: a gate, the store and the use cases."""

    store: Store
    billing: Billing
    first_seen_users: FirstSeenUserQueue
    follower: GateFollower
    figures: GateFigures


async def assemble(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Parts:
    """Open the store and construct every part; `stack` closes what was opened. Raises `StoreUnavailable`."""
    store = await asyncio.to_thread(Store.open, settings.database_url, clock=clock)
    stack.push_async_callback(store.close)
    follower = GateFollower(store)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    work = UnitOfWork(store, clock, follow_changes=follower.after_commit)
    billing = billing_parts(settings, work, session, InstalledApps(EMPTY_CATALOG))
    first_seen_users = FirstSeenUserQueue(work, billing.apps)
    gate = await gate_parts(settings, clock, stack, billing.litellm, first_seen_users.add, Registry())
    of_gate = {name: getattr(gate, name) for name in GateParts.__slots__}
    return Parts(
        **of_gate,
        store=store,
        billing=billing,
        first_seen_users=first_seen_users,
        follower=follower,
        figures=GateFigures(gate.registry),
    )
