"""State that handlers read from the application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from yarl import URL

from gateway.billing.context import Billing
from gateway.settings import Secrets
from gateway.web.models import GateReport


@dataclass(frozen=True, slots=True)
class Site:
    """What handlers need besides the use cases.

    `link_keys` verify the gate's upgrade links, newest first. `readiness()` lists problems by name; empty is ready.
    `reload_catalog()` reloads apps.json and raises `ConfigError` if it is invalid. `jwks()` is the key set with
    which apps verify assertions. `first_seen(app_id, user_id)` is
    `FirstSeenUserQueue.add`. `metrics()` is Prometheus' text; `gate_report(report)` adds what a gate process reports,
    and raises `InvalidInput`. `explain_gate(app_id, method, url, headers)` explains the gate's answer.
    """

    admin_tokens: Secrets
    gate_secrets: Secrets
    public_url: str
    link_keys: tuple[bytes, ...]
    readiness: Callable[[], dict[str, str]]
    reload_catalog: Callable[[], Awaitable[None]]
    metrics: Callable[[], str]
    gate_report: Callable[[GateReport], None]
    jwks: Callable[[], dict[str, list[dict[str, str]]]]
    first_seen: Callable[[str, str], asyncio.Future[None] | bool]
    explain_gate: Callable[[str, str, str, Sequence[tuple[str, str]]], Awaitable[dict[str, Any]]]

    @property
    def origin(self) -> str:
        """The Origin that a browser sends from our own pages: lower case, ASCII, without the default port."""
        return str(URL(self.public_url).origin())


BILLING = web.AppKey("billing", Billing)
SITE = web.AppKey("site", Site)
