"""`skpay tunnel`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click

from gateway.catalog.model import Catalog
from gateway.cli.environment import apps_option, catalog_of, public_url_of, public_url_option
from gateway.cli.output import bad, good, say
from gateway.cloudflare import API_BASE, Cloudflare, DnsPlan, changes, dns_plan, merged, zone_of
from gateway.errors import ConfigError, Conflict, UpstreamFailed
from gateway.routing import Plan, dns_records, ingress, plan
from gateway.setting_rules import paste_problem
from gateway.setting_variables import VARIABLES
from gateway.settings import Secret, file_problem, read_secret_file, secret_problem

_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105  # the variable's name
_ACCOUNT_ID = re.compile(r"[0-9a-f]{32}")
_TUNNEL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class _Tunnel:
    """The tunnel, and access to Cloudflare."""

    token: Secret
    account_id: str
    tunnel_id: str
    api_base: str


_dns_option = click.option(
    "--dns/--no-dns", default=True, show_default=True, help="Whether to write the hosts' DNS records too."
)


@dataclass(frozen=True, slots=True)
class _Found:
    """The tunnel's configuration as it is and as it should be, and the changes to DNS."""

    config: dict[str, Any]
    merged: dict[str, Any]
    dns: DnsPlan

    def lines(self) -> list[str]:
        """Every change, one a line."""
        return [*changes(self.config, self.merged), *map(str, self.dns.record_changes)]


@click.command("plan")
@apps_option
@public_url_option
@_dns_option
@click.pass_context
def show_plan(context: click.Context, apps_file: Path, public_url: str, dns: bool) -> None:
    """Show what apply would change, and change nothing; exit 1 if there are changes or conflicts."""
    where, expected = _read_all(apps_file, public_url)
    found = asyncio.run(_with_cloudflare(where, lambda cloudflare: _read_current(cloudflare, where, expected, dns)))
    _show(found.lines())
    for line in found.dns.conflicts:
        bad(f"{line} is in the way: it is not ours; remove it, and apply again")
    _print_hosts_without_zone(found.dns, where)
    if found.lines() or found.dns.conflicts:
        context.exit(1)
    good("the tunnel is up to date")


@click.command()
@apps_option
@public_url_option
@_dns_option
def apply(apps_file: Path, public_url: str, dns: bool) -> None:
    """Write the apps' rules to the tunnel and their hosts to DNS. Rules and records of others stay as they are."""
    where, expected = _read_all(apps_file, public_url)
    found = asyncio.run(_with_cloudflare(where, lambda cloudflare: _apply(cloudflare, where, expected, dns)))
    _show(found.lines())
    _print_hosts_without_zone(found.dns, where)
    good("the tunnel is changed" if found.lines() else "the tunnel is up to date")


async def _with_cloudflare(where: _Tunnel, work: Callable[[Cloudflare], Awaitable[_Found]]) -> _Found:
    async with aiohttp.ClientSession() as session:
        return await work(Cloudflare(session, where.token, api_base=where.api_base))


async def _read_current(cloudflare: Cloudflare, where: _Tunnel, expected: Plan, dns: bool) -> _Found:
    config = await cloudflare.tunnel_configuration(where.account_id, where.tunnel_id)
    records = dns_records(expected, where.tunnel_id) if dns else []
    zones = await cloudflare.zones() if records else {}
    used = {zones[zone] for record in records if (zone := zone_of(record["name"], zones)) is not None}
    there = {zone_id: await cloudflare.dns_records(zone_id) for zone_id in sorted(used)}
    return _Found(config, _merged(config, expected), dns_plan(records, zones, there))


async def _apply(cloudflare: Cloudflare, where: _Tunnel, expected: Plan, dns: bool) -> _Found:
    """Apply the changes. PUT replaces the whole document, so the current one is read first. Nothing is written if a
    DNS record conflicts. Rules come first: a host in DNS without a rule would show a page of Cloudflare's.
    """
    found = await _read_current(cloudflare, where, expected, dns)
    if found.dns.conflicts:
        lines = "; ".join(found.dns.conflicts)
        raise Conflict(f"Nothing was changed: DNS has records that are not ours ({lines}). Remove them first.")
    if changes(found.config, found.merged):
        kept = await cloudflare.put_tunnel_configuration(where.account_id, where.tunnel_id, found.merged)
        if changes(found.merged, kept):
            raise UpstreamFailed("Cloudflare stored other rules than it was sent; see: skpay tunnel plan")
    for change in found.dns.record_changes:
        if change.record_id is None:
            await cloudflare.create_dns_record(change.zone_id, change.record)
        else:
            await cloudflare.update_dns_record(change.zone_id, change.record_id, change.record)
    return found


def _print_hosts_without_zone(dns: DnsPlan, where: _Tunnel) -> None:
    for host in dns.hosts_without_zone:
        say(f"{host}: in no zone that the token may see; it needs a CNAME to {where.tunnel_id}.cfargotunnel.com")


def _merged(current: Mapping[str, Any], expected: Plan) -> dict[str, Any]:
    return merged(current, ingress(expected), [router.host for router in expected.routers])


def _show(lines: list[str]) -> None:
    for line in lines:
        say(line, {"+": "green", "-": "red"}.get(line[:1]))


def _read_all(apps_file: Path, public_url: str) -> tuple[_Tunnel, Plan]:
    """The environment and apps.json. Raises `ConfigError` with every problem of both, without values."""
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
        # For a sandbox on this machine only: anywhere else the token would leak.
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
        problems.append(f"{_TOKEN}: not set. It is {VARIABLES[_TOKEN].what}; set {_TOKEN} or {_TOKEN}_FILE")
        return None
    try:
        text = text or read_secret_file(Path(file_name))
    except (OSError, ValueError) as exc:
        problems.append(f"{_TOKEN}_FILE: cannot read {file_name}: {file_problem(exc)}")
        return None
    problem = paste_problem(_TOKEN, text.strip()) or secret_problem(text)
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
