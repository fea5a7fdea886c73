"""The running server: readiness, the gate's secret, the same apps.json, database, disk, clock."""

from __future__ import annotations

import time

import aiohttp

from gateway.catalog.model import EMPTY_CATALOG
from gateway.doctor.context import CheckContext, Json
from gateway.doctor.finding import Finding, bad, not_checked, ok, warning
from gateway.settings import Settings
from gateway.stripe.signature import TOLERANCE_SECONDS

_MIB = 1024 * 1024
_SLOW_WRITE_SECONDS = 1.0
_FEW_BYTES, _LOW_BYTES = 100 * _MIB, 1024 * _MIB
_NOTICED_SECONDS = 10


async def examine_ready(context: CheckContext) -> list[Finding]:
    async with context.session.get(f"{_own(context.settings)}/ready", headers=_operator(context.settings)) as response:
        answer = await response.json(content_type=None)
    if not isinstance(answer, dict) or "ready" not in answer:
        port = context.settings.port
        return [bad("server", "is not ours", f"another program listens on port {port}: stop it, or set PORT")]
    problems = answer.get("problems")
    if problems is None:  # answered to the operator only
        return [bad("server", "does not know our ADMIN_TOKEN", "restart it after changing ADMIN_TOKEN")]
    if problems:
        report = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return [bad("server", f"not ready: {report}", "skpay alerts list, and see its log")]
    return [ok("server", "ready")]


async def examine_gate(context: CheckContext) -> list[Finding]:
    settings = context.settings
    url = f"http://{settings.own_host}:{settings.gate_port}/metrics"
    async with context.session.get(url) as response:
        without = response.status
    async with context.session.get(url, headers={"X-SK-Gate": settings.gate_secret[0].reveal()}) as response:
        answered = response.status
    if without != 403:
        remedy = "another program listens there: stop it, or set GATE_PORT"
        return [bad("gate", f"answered {without} without the secret", remedy)]
    if answered != 200:
        return [bad("gate", f"answered {answered} with the secret", "restart the server after changing GATE_SECRET")]
    return [ok("gate", "answers, and only to the secret")]


async def ask_server(session: aiohttp.ClientSession, settings: Settings) -> Json | str:
    """The running server's report about itself, or the code of its refusal ('' if there is none or it is not ours).

    `ahead_of_us`: its clock minus this process' clock, taken now, since other answers may be slow.
    """
    url = f"{_own(settings)}/admin/examine"
    try:
        async with session.post(url, headers=_operator(settings)) as response:
            report = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return ""
    if not isinstance(report, dict):
        return ""
    if response.status != 200:
        return str(report.get("error", ""))
    return {**report, "ahead_of_us": float(report["at"]) - time.time()}


def examine_server_report(context: CheckContext) -> list[Finding]:
    """Findings that need the server's report."""
    report = context.server_report
    if isinstance(report, str):
        if report == "store_unavailable":
            return [bad("database", "cannot be written", "see store_failed in the server's log: disk full, read-only?")]
        return [not_checked(name, "the server did not say") for name in ("apps.json", "database", "disk", "clock")]
    catalog = [] if context.catalog is EMPTY_CATALOG else [_catalog(context, report)]
    return [*catalog, _database(report), _disk(report), _clock(context, report)]


def _catalog(context: CheckContext, report: Json) -> Finding:
    where = context.settings.apps_file
    if report["catalog"] != context.catalog.digest:
        return bad("apps.json", f"the server serves another text than {where} has", "skpay check, and see its log")
    return ok("apps.json", f"{len(context.catalog.apps)} apps, and the server serves them")


def _database(report: Json) -> Finding:
    seconds = float(report["write_seconds"])
    if seconds > _SLOW_WRITE_SECONDS:
        remedy = "is the disk busy or remote? put the database on a fast local one"
        return warning("database", f"took {seconds:.1f} s to write one row", remedy)
    return ok("database", f"written in {seconds * 1000:.0f} ms")


def _disk(report: Json) -> Finding:
    disk = report["disk"]
    if disk is None:
        return not_checked("disk", "the database is another server's")
    free, folder = int(disk["free"]), disk["folder"]
    left = f"{free // _MIB} MiB free at {folder}"
    remedy = f"make room: du -xh {folder} | sort -h | tail"
    if free < _FEW_BYTES:
        return bad("disk", left, remedy)
    return warning("disk", left, remedy) if free < _LOW_BYTES else ok("disk", left)


def _clock(context: CheckContext, report: Json) -> Finding:
    """The server's clock compared with Stripe's: by the server, or else by this process."""
    ahead = report["clock_ahead_seconds"]
    if ahead is None and context.stripe.clock_ahead_seconds is not None:
        ahead = context.stripe.clock_ahead_seconds + round(report["ahead_of_us"])
    if ahead is None:
        return not_checked("clock", "Stripe's clock is not known")
    way = f"{abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} Stripe's"
    remedy = "set this machine's clock: timedatectl set-ntp true"
    if abs(ahead) > TOLERANCE_SECONDS // 2:
        return bad("clock", f"{way}: signed events are refused from {TOLERANCE_SECONDS} s on", remedy)
    if abs(ahead) > _NOTICED_SECONDS:
        return warning("clock", way, remedy)
    return ok("clock", "as Stripe's")


def _own(settings: Settings) -> str:
    return f"http://{settings.own_host}:{settings.port}"


def _operator(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.admin_token[0].reveal()}"}
