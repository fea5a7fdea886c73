"""All checks of an installation, run concurrently."""

from __future__ import annotations

import asyncio

import aiohttp

from gateway.catalog import parse
from gateway.catalog.model import EMPTY_CATALOG, Catalog
from gateway.doctor.context import Check, CheckContext, Options, run_check
from gateway.doctor.edge import examine_cache, examine_gate_port
from gateway.doctor.finding import Finding, bad, not_checked
from gateway.doctor.headers import examine_headers
from gateway.doctor.litellm import examine_litellm
from gateway.doctor.open_webui import examine_open_webui
from gateway.doctor.server import ask_server, examine_gate, examine_ready, examine_server_report
from gateway.doctor.stripe import examine_stripe
from gateway.doctor.targets import Resolver
from gateway.doctor.traefik import examine_traefik
from gateway.doctor.webhook import examine_webhook
from gateway.errors import ConfigError
from gateway.litellm import LiteLLM
from gateway.settings import Settings
from gateway.stripe.client import Stripe
from gateway.stripe.transport import Transport

_SECONDS = 15

# The subject of the finding if a check cannot run, and the check.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("server", examine_ready),
    ("gate", examine_gate),
    ("stripe key", examine_stripe),
    ("webhook URL", examine_webhook),
    ("litellm", examine_litellm),
    ("open webui", examine_open_webui),
    ("traefik", examine_traefik),
    ("gate", examine_headers),
    ("gate port", examine_gate_port),
    ("edge cache", examine_cache),
)
_OF_APPS = (examine_traefik, examine_headers, examine_cache)


async def examine(settings: Settings, options: Options) -> list[Finding]:
    """The findings, in a fixed order. Changes no tier; the failure of one check does not hide another's finding."""
    catalog, problems = _catalog(settings)
    connector = aiohttp.TCPConnector(resolver=Resolver(), limit=0)
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
        context = CheckContext(
            settings=settings,
            catalog=catalog,
            options=options,
            session=session,
            stripe=Stripe(
                Transport(session, settings.stripe_secret_key, api_base=settings.stripe_api_base, attempts=1)
            ),
            litellm=LiteLLM(session, settings.litellm_url, settings.litellm_key) if settings.litellm_url else None,
            server_report=await ask_server(session, settings),
        )
        answers = await asyncio.gather(*(_answer(context, subject, check) for subject, check in CHECKS))
    return [*problems, *examine_server_report(context), *(finding for found in answers for finding in found)]


async def _answer(context: CheckContext, subject: str, check: Check) -> list[Finding]:
    if context.catalog is EMPTY_CATALOG and check in _OF_APPS:
        return [not_checked(subject, "apps.json cannot be used")]
    return await run_check(context, subject, check)


def _catalog(settings: Settings) -> tuple[Catalog, list[Finding]]:
    """apps.json; if it is invalid, an empty catalog with the finding."""
    try:
        return parse(settings.apps_file.read_bytes(), str(settings.apps_file)), []
    except ConfigError as exc:
        return EMPTY_CATALOG, [bad("apps.json", problem, "fix it, then: skpay check") for problem in exc.problems]
    except OSError as exc:
        return EMPTY_CATALOG, [
            bad("apps.json", f"{settings.apps_file}: {exc.strerror}", "set APPS_FILE to your apps.json")
        ]
