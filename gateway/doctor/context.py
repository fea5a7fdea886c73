"""What every check can use: settings, catalog and clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from gateway.catalog.model import App, Catalog
from gateway.doctor.finding import Finding, bad
from gateway.errors import SkpayError
from gateway.litellm import LiteLLM
from gateway.settings import Settings
from gateway.stripe.client import Stripe

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """`live`: also send requests through the public addresses. `traefik_api`: the address of Traefik's API. `cookie`: a
    valid one of Open WebUI."""

    live: bool = False
    traefik_api: str | None = None
    cookie: str | None = None


@dataclass(frozen=True, slots=True)
class CheckContext:
    """`server_report` is the running server's report (`/admin/examine`), or the code of its refusal."""

    settings: Settings
    catalog: Catalog
    options: Options
    session: aiohttp.ClientSession
    stripe: Stripe
    litellm: LiteLLM | None
    server_report: Json | str

    def origin(self, app: App, host: str) -> str:
        """The public address of this host: from one of the app's own links, else with the scheme of PUBLIC_URL."""
        for url in (app.success_url, app.cancel_url, app.sign_in_url or ""):
            parts = urlsplit(url)
            if parts.hostname == host:
                return urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        public = urlsplit(self.settings.public_url)
        netloc = f"{host}:{public.port}" if public.port else host
        return urlunsplit((public.scheme, netloc, "", "", ""))


Check = Callable[[CheckContext], Awaitable[list[Finding]]]


async def run_check(context: CheckContext, subject: str, check: Check) -> list[Finding]:
    """The answer, or the reason for none. It contains no secret of ours, but text of others: a rule of Traefik's may
    contain one."""
    found = await _run_check(context, subject, check)
    return [replace(finding, message=_without_secrets(context.settings, finding.message)) for finding in found]


def _without_secrets(settings: Settings, text: str) -> str:
    kinds = (settings.gate_secret, settings.admin_token, settings.stripe_secret_key, settings.litellm_key)
    for secret in (secret for kind in kinds for secret in kind):
        text = text.replace(secret.reveal(), "********")
    return text


async def _run_check(context: CheckContext, subject: str, check: Check) -> list[Finding]:
    try:
        return await check(context)
    except SkpayError as exc:
        return [bad(subject, f"{exc.message} {exc.detail}".strip(), "check the address and the key")]
    except ValueError:
        return [bad(subject, "answered something that is not JSON", "does another program listen there?")]
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        return [bad(subject, f"no answer: {type(exc).__name__}", "is it running? skpay serve")]
