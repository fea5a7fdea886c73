"""Where Stripe sends events: webhook endpoints, and event destinations for thin events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import UpstreamFailed
from gateway.stripe.fields import Raw, optional_text
from gateway.stripe.transport import API_VERSION, Transport


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """`event_types` may be `*`. `api_version` None: that of the account."""

    url: str
    enabled: bool
    event_types: tuple[str, ...]
    api_version: str | None


class WebhookEndpoints:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list_all(self) -> list[WebhookEndpoint]:
        return [_endpoint(raw) async for raw in self._transport.list_all("/v1/webhook_endpoints")]

    async def destinations(self, url: str) -> list[WebhookEndpoint]:
        """Event destinations with this URL, which get thin events. Empty if Stripe does not answer."""
        query = {"include": ["webhook_endpoint.url"], "limit": 100}
        try:
            page = await self._transport.get("/v2/core/event_destinations", query)
        except UpstreamFailed:
            return []
        found = (_destination(raw) for raw in page.get("data") or ())
        return [each for each in found if each.url == url]


def _endpoint(raw: Raw) -> WebhookEndpoint:
    return WebhookEndpoint(
        str(raw.get("url")),
        raw.get("status") == "enabled",
        tuple(raw.get("enabled_events") or ()),
        optional_text(raw.get("api_version")),
    )


def _destination(raw: Raw) -> WebhookEndpoint:
    """Thin events have no API version of their own."""
    endpoint = raw.get("webhook_endpoint")
    return WebhookEndpoint(
        str(endpoint.get("url")) if isinstance(endpoint, Mapping) else "",
        raw.get("status") == "enabled",
        tuple(str(event).removeprefix("v1.") for event in raw.get("enabled_events") or ()),
        optional_text(raw.get("snapshot_api_version")) or API_VERSION,
    )
