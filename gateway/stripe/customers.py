"""Customers at Stripe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.stripe.fields import Raw, optional_text, required_text
from gateway.stripe.transport import Transport
from gateway.urls import api_path


@dataclass(frozen=True, slots=True)
class StripeCustomer:
    """A customer as Stripe has it. `currency` None: it has not bought anything yet.

    `metadata` may have been written by others who share the account.
    """

    customer_id: str
    metadata: Mapping[str, Any]
    email: str | None
    currency: str | None
    deleted: bool


class Customers:
    """`get`, `update…` and `delete` raise `StripeNotFound` for a customer that is in another account or mode."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, customer_id: str) -> StripeCustomer:
        """A deleted customer is returned too, with `deleted` set."""
        return read_customer(await self._transport.get(api_path("v1/customers", customer_id)))

    async def is_deleted(self, customer_id: str) -> bool:
        """True only if Stripe itself says `deleted`; with a wrong key `StripeNotFound` is raised instead."""
        return (await self.get(customer_id)).deleted

    async def list_all(self, created_since: int | None = None) -> AsyncIterator[StripeCustomer]:
        """Newest first, without deleted ones."""
        query = {} if created_since is None else {"created": {"gte": created_since}}
        async for raw in self._transport.list_all("/v1/customers", query):
            yield read_customer(raw)

    async def create(self, metadata: Mapping[str, str], idempotency_key: str) -> StripeCustomer:
        params = {"metadata": metadata}
        return read_customer(await self._transport.post("/v1/customers", params, idempotency_key=idempotency_key))

    async def set_metadata(self, customer_id: str, metadata: Mapping[str, str]) -> None:
        """Add these keys to the customer's metadata, replacing their values."""
        await self._transport.post(api_path("v1/customers", customer_id), {"metadata": metadata})

    async def set_email(self, customer_id: str, email: str) -> None:
        await self._transport.post(api_path("v1/customers", customer_id), {"email": email})

    async def delete(self, customer_id: str) -> None:
        await self._transport.delete(api_path("v1/customers", customer_id))


def read_customer(raw: Raw) -> StripeCustomer:
    metadata = raw.get("metadata")
    return StripeCustomer(
        customer_id=required_text(raw, "id", "customer"),
        metadata=metadata if isinstance(metadata, Mapping) else {},
        email=optional_text(raw.get("email")),
        currency=optional_text(raw.get("currency")) or None,
        deleted=raw.get("deleted") is True,
    )
