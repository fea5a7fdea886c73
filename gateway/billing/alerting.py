"""Everything a person must look at: one row, one ERROR line when it opens, shown until it is resolved."""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.log import fields
from gateway.store import alerts

log = logging.getLogger(__name__)


async def open_alert(billing: Billing, kind: str, subject: str, message: str) -> None:
    """Open the alert, or count it once more. One that is open already is not logged again."""

    def job(conn: Connection) -> bool:
        return alerts.open_(conn, kind, subject, message, billing.now())

    if await billing.store.write(job):
        log_opened(kind, subject, message)


def log_opened(kind: str, subject: str, message: str) -> None:
    """The one ERROR line of an alert; SOP.md has a paragraph for each `kind`."""
    log.error("alert_opened", extra=fields(kind=kind, subject=subject, message=message))


async def resolve_alert(billing: Billing, kind: str, subject: str) -> None:
    """Close the alert if it is open."""

    def job(conn: Connection) -> bool:
        return alerts.resolve(conn, kind, subject, billing.now())

    if await billing.store.write(job):
        log.info("alert_resolved", extra=fields(kind=kind, subject=subject))
