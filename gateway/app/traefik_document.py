"""The dynamic configuration that the gate serves to Traefik's HTTP provider."""

from __future__ import annotations

from gateway.catalog.model import Catalog
from gateway.routing import plan, traefik_json
from gateway.settings import GateSettings


class TraefikDocument:
    """None until the first catalog is installed."""

    def __init__(self) -> None:
        self._document: bytes | None = None

    def replace(self, document: bytes) -> None:
        self._document = document

    def current(self) -> bytes | None:
        return self._document


def render(catalog: Catalog, settings: GateSettings) -> bytes:
    """The document of a catalog. Raises `ConfigError`. Takes long with many apps: call it in a thread."""
    return traefik_json(plan(catalog, settings.public_url), settings.gate_secret[0].reveal())
