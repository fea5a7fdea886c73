"""Open and resolve one alert in a transaction of its own. Inside a job use the methods of `Transaction`."""

from __future__ import annotations

from gateway.billing.work.unit_of_work import UnitOfWork


async def open_alert(work: UnitOfWork, kind: str, subject: str, message: str) -> None:
    """Open the alert, or count it once more. SOP.md has a paragraph for each kind. Raises `StoreUnavailable`."""
    await work.write(lambda tx: tx.open_alert(kind, subject, message))


async def resolve_alert(work: UnitOfWork, kind: str, subject: str) -> None:
    """Close the alert if it is open. Raises `StoreUnavailable`."""
    await work.write(lambda tx: tx.resolve_alert(kind, subject))
