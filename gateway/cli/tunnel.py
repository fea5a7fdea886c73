"""`skpay tunnel`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click

from gateway.catalog.model import Catalog
from gateway.cli.environment import apps_option, catalog_of, public_url_of, public_url_option
from gateway.cli.output import good, out
from gateway.cloudflare import API_BASE, Cloudflare, changes, merged
from gateway.errors import ConfigError, UpstreamFailed
from gateway.routing import Plan, ingress, plan
from gateway.settings import Secret, read_secret_file, secret_problem

_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105  # the variable's name
_ACCOUNT_ID = re.compile(r"[0-9a-f]{32}")
_TUNNEL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class _Tunnel:
    """Which tunnel, and how to reach Cloudflare."""

    token: Secret
    account_id: str
    tunnel_id: str
    api_base: str


@click.group()
def tunnel() -> None:
    """The rules of a remotely managed Cloudflare Tunnel: every host of apps.json leads to Traefik."""


@tunnel.command("plan")
@apps_option
@public_url_option
@click.pass_context
def show_plan(context: click.Context, apps_file: Path, public_url: str) -> None:
    """Show what apply would change, and change nothing; exit 1 if there is anything to do."""
    where, wanted = _read_all(apps_file, public_url)
    current = asyncio.run(_current(where))
    lines = changes(current, _merged(current, wanted))
    if not lines:
        good("the tunnel is up to date")
        return
    _show(lines)
    context.exit(1)


@tunnel.command()
@apps_option
@public_url_option
def apply(apps_file: Path, public_url: str) -> None:
    """Put our rules into the tunnel. Rules for other hosts, and everything else in it, stay as they are."""
    where, wanted = _read_all(apps_file, public_url)
    lines = asyncio.run(_apply(where, wanted))
    if not lines:
        good("the tunnel is up to date")
        return
    _show(lines)
    good("the tunnel is changed")


async def _current(where: _Tunnel) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        cloudflare = Cloudflare(session, where.token, api_base=where.api_base)
        return await cloudflare.tunnel_configuration(where.account_id, where.tunnel_id)


async def _apply(where: _Tunnel, wanted: Plan) -> list[str]:
    """What was changed. PUT replaces the whole document, so without the present one nothing is written."""
    async with aiohttp.ClientSession() as session:
        cloudflare = Cloudflare(session, where.token, api_base=where.api_base)
        current = await cloudflare.tunnel_configuration(where.account_id, where.tunnel_id)
        config = _merged(current, wanted)
        lines = changes(current, config)
        if not lines:
            return []
        kept = await cloudflare.put_tunnel_configuration(where.account_id, where.tunnel_id, config)
        if changes(config, kept):
            raise UpstreamFailed("Cloudflare keeps other rules than it was sent; look at: skpay tunnel plan")
        return lines


def _merged(current: Mapping[str, Any], wanted: Plan) -> dict[str, Any]:
    return merged(current, ingress(wanted), [router.host for router in wanted.routers])


def _show(lines: list[str]) -> None:
    for line in lines:
        out.print(line, markup=False, style={"+": "green", "-": "red"}.get(line[:1]))


def _read_all(apps_file: Path, public_url: str) -> tuple[_Tunnel, Plan]:
    """The environment and apps.json. Raises `ConfigError` with every problem of both, none of which holds a value."""
    problems: list[str] = []
    where = _tunnel_of(os.environ, problems)
    catalog, url = _catalog_or_none(apps_file, problems), ""
    try:
        url = public_url_of(public_url)
    except ConfigError as exc:
        problems += exc.problems
    if problems or where is None or catalog is None:
        raise ConfigError(problems)
    return where, plan(catalog, url)


def _catalog_or_none(apps_file: Path, problems: list[str]) -> Catalog | None:
    try:
        return catalog_of(apps_file)
    except ConfigError as exc:
        problems += exc.problems
        return None


def _tunnel_of(environ: Mapping[str, str], problems: list[str]) -> _Tunnel | None:
    token = _token_of(environ, problems)
    account_id = _id_of(environ, "CLOUDFLARE_ACCOUNT_ID", _ACCOUNT_ID, "32 hexadecimal digits", problems)
    tunnel_id = _id_of(environ, "CLOUDFLARE_TUNNEL_ID", _TUNNEL_ID, "a UUID", problems)
    api_base = environ.get("CLOUDFLARE_API_BASE", "").strip() or API_BASE
    if api_base != API_BASE and not _on_this_machine(api_base):
        # It is for a sandbox on this machine; a token sent anywhere else is a token lost.
        problems.append("CLOUDFLARE_API_BASE: only an address of this machine may stand in for Cloudflare's; unset it")
        return None
    return _Tunnel(token, account_id, tunnel_id, api_base) if token else None


def _on_this_machine(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK


def _token_of(environ: Mapping[str, str], problems: list[str]) -> Secret | None:
    text, file_name = environ.get(_TOKEN, ""), environ.get(f"{_TOKEN}_FILE", "")
    if text and file_name:
        problems.append(f"{_TOKEN}: set either {_TOKEN} or {_TOKEN}_FILE, not both")
        return None
    if not text and not file_name:
        what = "an API token with the permission Account > Cloudflare Tunnel > Edit"
        problems.append(f"{_TOKEN}: not set. It is {what}; set {_TOKEN} or {_TOKEN}_FILE")
        return None
    try:
        text = text or read_secret_file(Path(file_name))
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "is no UTF-8 text or larger than 64 KiB"
        problems.append(f"{_TOKEN}_FILE: cannot read {file_name}: {reason}")
        return None
    problem = secret_problem(text)
    if problem:
        problems.append(f"{_TOKEN}: {problem}")
        return None
    return Secret(text.strip())


def _id_of(environ: Mapping[str, str], name: str, shape: re.Pattern[str], what: str, problems: list[str]) -> str:
    text = environ.get(name, "").strip().lower()
    if not text:
        problems.append(f"{name}: not set. The Cloudflare dashboard shows it; it is {what}")
    elif not shape.fullmatch(text):
        problems.append(f"{name}: expected {what}")
    return text
