"""Constructs the parts of one process, each from parts constructed before it. Nothing is served yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import aiohttp

from gateway.access import header_echo_tokens, links
from gateway.app.assertion_keys import AssertionKeys
from gateway.app.billing_parts import billing_parts
from gateway.app.credential_resolver import CredentialResolver, identity_session
from gateway.app.gate_apps import GateApps
from gateway.app.gate_follower import GateFollower
from gateway.app.gate_invalidation import GateInvalidation
from gateway.app.gate_table import GateTable
from gateway.app.traefik_document import TraefikDocument
from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.provision.first_seen_users import FirstSeenUserQueue
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import EMPTY_CATALOG
from gateway.gate import GateHandler
from gateway.metrics import Registry
from gateway.settings import Settings
from gateway.store import Store

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Parts:
    """What one process consists of."""

    settings: Settings
    clock: Clock
    registry: Registry
    store: Store
    billing: Billing
    first_seen_users: FirstSeenUserQueue
    follower: GateFollower
    tiers: GateTable
    apps: GateApps
    resolver: CredentialResolver
    gate: GateHandler
    invalidation: GateInvalidation
    traefik: TraefikDocument
    assertion_keys: AssertionKeys
    link_keys: tuple[bytes, ...]


async def assemble(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Parts:
    """Open the store and construct every part; `stack` closes what was opened. Raises `StoreUnavailable`."""
    store = await asyncio.to_thread(Store.open, settings.database_url, clock=clock)
    stack.push_async_callback(store.close)
    registry, invalidation = Registry(), GateInvalidation()
    tiers, apps, traefik = GateTable(invalidation.tier_changed), GateApps(), TraefikDocument()
    session = await stack.enter_async_context(aiohttp.ClientSession())
    follower = GateFollower(store)
    work = UnitOfWork(store, clock, follow_changes=follower.after_commit)
    billing = billing_parts(settings, work, session, InstalledApps(EMPTY_CATALOG))
    first_seen_users = FirstSeenUserQueue(work, billing.apps)
    resolver = CredentialResolver(
        await stack.enter_async_context(identity_session()),
        billing.litellm,
        access=apps.access_of,
        changed=invalidation.credential_changed,
        keys_removed=invalidation.keys_removed,
        registry=registry,
        clock=clock,
    )
    stack.push_async_callback(resolver.stop)
    link_keys = links.link_keys(settings.gate_secret)
    gate = GateHandler(
        secrets=settings.gate_secret,
        public_url=settings.public_url,
        table=tiers.table,
        sign_link=partial(links.sign, link_keys[0]),
        registry=registry,
        on_first_seen=first_seen_users.add,
        traefik_document=traefik.current,
        resolve=resolver.resolve,
        echo_token_keys=header_echo_tokens.header_echo_keys(settings.admin_token),
        clock=clock,
    )
    invalidation.attach(gate)
    return Parts(
        settings, clock, registry, store, billing, first_seen_users, follower, tiers, apps, resolver, gate,
        invalidation, traefik, AssertionKeys(settings), link_keys,
    )  # fmt: skip
