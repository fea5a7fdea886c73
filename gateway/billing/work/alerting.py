"""Everything a person must look at: one row, one ERROR line when it opens, shown until it is resolved."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.log import fields
from gateway.store import alerts
from gateway.tiers.model import Concern

log = logging.getLogger(__name__)


async def open_alert(billing: Billing, kind: str, subject: str, message: str) -> None:
    """Open the alert, or count it once more. One that is open already is not logged again."""
    concern = Concern(kind, subject, message)
    log_opened(await billing.store.write(lambda conn: open_all(conn, [concern], billing.now())))


async def resolve_alert(billing: Billing, kind: str, subject: str) -> None:
    """Close the alert if it is open."""
    log_resolved(await billing.store.write(lambda conn: resolve_all(conn, [(kind, subject)], billing.now())))


def open_all(conn: Connection, concerns: Iterable[Concern], now: int) -> list[Concern]:
    """Open alerts inside a transaction; those that were not open, to be given to `log_opened` once it is committed."""
    return [each for each in concerns if alerts.open_(conn, each.kind, each.subject, each.message, now)]


def resolve_all(conn: Connection, over: Iterable[tuple[str, str]], now: int) -> list[tuple[str, str]]:
    """Close alerts (kind, subject) inside a transaction; those that were open, for `log_resolved` after the commit."""
    return [(kind, subject) for kind, subject in over if alerts.resolve(conn, kind, subject, now)]


def log_opened(concerns: Iterable[Concern]) -> None:
    """The one ERROR line of each alert; SOP.md has a paragraph for each kind."""
    for each in concerns:
        log.error("alert_opened", extra=fields(kind=each.kind, subject=each.subject, message=each.message))


def log_resolved(over: Iterable[tuple[str, str]]) -> None:
    for kind, subject in over:
        log.info("alert_resolved", extra=fields(kind=kind, subject=subject))
