"""A sandbox Cloudflare on a port of its own, with a tunnel and a zone that other people use, too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from gateway.cloudflare import Cloudflare
from gateway.sandbox.cloudflare import CloudflareSandbox
from gateway.settings import Secret

TOKEN = "cfat-9f2c7d1e5b8a4063"
ACCOUNT_ID = "0123456789abcdef0123456789abcdef"
TUNNEL_ID = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"
ZONE_ID = "023e105f4ecef8ad9ca31a8372d0c353"
NOT_OURS = {"hostname": "wiki.example.com", "service": "http://wiki:3000", "originRequest": {"connectTimeout": 10}}
WILDCARD = {"hostname": "*.example.com", "service": "http://old-proxy:80"}
CATCH_ALL = {"service": "http_status:503"}
THEIRS: dict[str, Any] = {
    "ingress": [NOT_OURS, WILDCARD, CATCH_ALL],
    "originRequest": {"keepAliveTimeout": 30},
    "warp-routing": {"enabled": True},
}


@dataclass
class CloudflareHarness:
    """`api_base` is what a client needs, `url` the sandbox's own address."""

    sandbox: CloudflareSandbox
    url: str
    session: aiohttp.ClientSession

    @property
    def api_base(self) -> str:
        return f"{self.url}/client/v4"

    def client(self, token: str = TOKEN) -> Cloudflare:
        return Cloudflare(self.session, Secret(token), api_base=self.api_base)

    def config(self) -> dict[str, Any] | None:
        return self.sandbox.config(ACCOUNT_ID, TUNNEL_ID)

    async def order(self, **fault: Any) -> None:
        """A fault for the next call, through the control route."""
        async with self.session.post(f"{self.url}/_sandbox/faults", json=fault) as response:
            assert response.status == 200, await response.text()


@asynccontextmanager
async def open_place(
    config: dict[str, Any] | None = None, *records: dict[str, Any], source: str = "cloudflare"
) -> AsyncIterator[CloudflareHarness]:
    sandbox = CloudflareSandbox(TOKEN)
    sandbox.add_tunnel(ACCOUNT_ID, TUNNEL_ID, config, source=source)
    sandbox.zones.add(ZONE_ID, "example.com", *records)
    async with TestServer(sandbox.application()) as server, aiohttp.ClientSession() as session:
        yield CloudflareHarness(sandbox, str(server.make_url("")).rstrip("/"), session)
