"""Requests to the hosts of apps, by their public address and directly to Traefik."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from gateway.catalog.model import App
from gateway.doctor.context import CheckContext

_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """`direct`: to Traefik's own address, with the host's name in the request, past DNS, tunnel and edge."""

    base: str
    host: str
    direct: bool

    @property
    def label(self) -> str:
        return " at Traefik" if self.direct else ""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def error(self) -> str:
        """The code of an error of SKPayments, '' for any other answer."""
        return str(self._json().get("error", ""))

    @property
    def message(self) -> str:
        return str(self._json().get("message", ""))

    def _json(self) -> dict[str, Any]:
        try:
            parsed = json.loads(self.text)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}


def targets(context: CheckContext, app: App, host: str) -> Iterator[Target]:
    """Both addresses of a host."""
    public = urlsplit(context.origin(app, host))
    yield Target(public.geturl(), public.netloc, direct=False)
    yield Target(context.catalog.routing.traefik_url, host, direct=True)


async def ask(
    context: CheckContext,
    target: Target,
    path: str,
    headers: Mapping[str, str] | Sequence[tuple[str, str]],
    method: str = "GET",
) -> Answer | str:
    """The answer, no redirect followed; or the reason for none, as text."""
    sent = [("Host", target.host), *(headers.items() if isinstance(headers, Mapping) else headers)]
    url = URL(target.base + path, encoded=True)
    try:
        async with context.session.request(
            method, url, headers=sent, allow_redirects=False, server_hostname=target.host if target.direct else None
        ) as response:
            raw = await response.content.read(_MOST_BYTES)
            return Answer(response.status, response.headers, raw.decode("utf-8", "replace"))
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLError):
        return "has a certificate that is not valid for it"
    except aiohttp.ClientConnectorDNSError:
        return "has a name that does not resolve"
    except (aiohttp.ClientConnectorError, OSError) as exc:
        return f"cannot be connected to ({type(exc).__name__})"
    except TimeoutError:
        return "does not answer in time"
    except aiohttp.ClientError as exc:
        return f"does not answer HTTP ({type(exc).__name__})"


class Resolver(ThreadedResolver):
    """The system's resolver, except for `*.localhost`: this machine (RFC 6761), which not every system knows."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return await super().resolve("127.0.0.1" if host.endswith(".localhost") else host, port, family)
