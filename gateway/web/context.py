"""What handlers find on their application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from yarl import URL

from gateway.billing.context import Billing
from gateway.settings import Secrets


@dataclass(frozen=True, slots=True)
class Site:
    """What the public listener knows beside the use cases.

    `link_keys` verify the gate's upgrade links, newest first. `readiness()` lists what is not well, by name; empty is
    ready. `reload_catalog()` reads apps.json again and raises `ConfigError` if it cannot be used. `keys_changed()` is
    called after a key was made or revoked, so that gate and listener learn of it at once. `jwks()` is the key set with
    which apps verify assertions. `explain_gate(app_id, method, url, headers)` is what the gate would answer, and why.
    """

    admin_tokens: Secrets
    public_url: str
    link_keys: tuple[bytes, ...]
    readiness: Callable[[], dict[str, str]]
    reload_catalog: Callable[[], Awaitable[None]]
    keys_changed: Callable[[], Awaitable[None]]
    jwks: Callable[[], dict[str, list[dict[str, str]]]]
    explain_gate: Callable[[str, str, str, Sequence[tuple[str, str]]], Awaitable[dict[str, Any]]]

    @property
    def origin(self) -> str:
        """What a browser sends as Origin from our own pages: in lower case and ASCII, without the usual port."""
        return str(URL(self.public_url).origin())


BILLING = web.AppKey("billing", Billing)
SITE = web.AppKey("site", Site)
