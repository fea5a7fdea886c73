"""Constructs the parts of a gate: of the one in the main process, or of a process that is only a gate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from gateway.access import header_echo_tokens, links
from gateway.app.assertion_keys import AssertionKeys
from gateway.app.credential_resolver import CredentialResolver, identity_session
from gateway.app.gate_apps import GateApps
from gateway.app.gate_invalidation import GateInvalidation
from gateway.app.gate_table import GateTable
from gateway.app.traefik_document import TraefikDocument
from gateway.gate import GateHandler
from gateway.litellm import LiteLLM
from gateway.metrics import Registry
from gateway.settings import GateSettings

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class GateParts:
    """What a gate consists of. Nothing is served yet, and no app is installed."""

    settings: GateSettings
    clock: Clock
    registry: Registry
    tiers: GateTable
    apps: GateApps
    resolver: CredentialResolver
    gate: GateHandler
    invalidation: GateInvalidation
    traefik: TraefikDocument
    assertion_keys: AssertionKeys
    link_keys: tuple[bytes, ...]


async def gate_parts(
    settings: GateSettings,
    clock: Clock,
    stack: AsyncExitStack,
    litellm: LiteLLM | None,
    on_first_seen: Callable[[str, str], object],
    registry: Registry,
) -> GateParts:
    """`stack` closes what was opened. `litellm` looks up virtual keys."""
    invalidation = GateInvalidation()
    tiers, apps, traefik = GateTable(), GateApps(), TraefikDocument()
    resolver = await _resolver(stack, litellm, apps, invalidation, registry, clock)
    link_keys = links.link_keys(settings.gate_secret)
    gate = GateHandler(
        secrets=settings.gate_secret,
        public_url=settings.public_url,
        table=tiers.table,
        sign_link=partial(links.sign, link_keys[0]),
        registry=registry,
        on_first_seen=on_first_seen,
        traefik_document=traefik.current,
        resolve=resolver.resolve,
        echo_token_keys=header_echo_tokens.header_echo_keys(settings.admin_token),
        clock=clock,
    )
    invalidation.attach(gate)
    return GateParts(
        settings,
        clock,
        registry,
        tiers,
        apps,
        resolver,
        gate,
        invalidation,
        traefik,
        AssertionKeys(settings),
        link_keys,
    )


async def _resolver(
    stack: AsyncExitStack,
    litellm: LiteLLM | None,
    apps: GateApps,
    invalidation: GateInvalidation,
    registry: Registry,
    clock: Clock,
) -> CredentialResolver:
    resolver = CredentialResolver(
        await stack.enter_async_context(identity_session()),
        litellm,
        access=apps.access_of,
        changed=invalidation.credential_changed,
        keys_removed=invalidation.keys_removed,
        registry=registry,
        clock=clock,
    )
    stack.push_async_callback(resolver.stop)
    return resolver
