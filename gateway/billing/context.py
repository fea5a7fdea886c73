"""What every use case works with: the catalog of now, the store, the vendors, the clock."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection

from gateway.billing.reconcile.state import ReconcileState
from gateway.billing.work.transaction import Job, Transaction, Wakeups, new_wakeups
from gateway.catalog.model import App, Catalog, Price, Tier
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import NotFound
from gateway.litellm import LiteLLM
from gateway.settings import Secrets
from gateway.store import Store
from gateway.stripe.client import Stripe
from gateway.stripe.prices import ResolvedPrice

T = TypeVar("T")


@dataclass(slots=True, weakref_slot=True)
class Billing:
    """One per process. `catalog` and `known_prices` are replaced whole by a reload, never changed in place.

    `update_gate(app_id, user_id, tier, changes_at)` is called after a tier is committed, on the event loop;
    `changes_at` is when the clock alone will change it.
    `catalog_secrets`: every secret that `catalog` names, newest first; replaced together with it.
    `skews`: how often events of another time were alerted, one more at a start, since an older alert may stand; a good
    event has come since the first `skews_settled` of them.
    `app_keys`: app id → SHA-256 of each key its backend may use, from apps.json and from `skpay keys create`.
    `known_prices`: app id → price id → tier id, for every price that ever resolved for a tier of that app.
    `known_products`: app id → product id → tier id, for products whose prices are all one tier's.
    `prices_resolved`: whether Stripe has answered for every price of the catalog since it was installed.
    `monotonic`: seconds that pass whatever becomes of `clock`, which somebody may set.
    `missing_prices`: those of which Stripe said last that it has no active one; nobody can buy them.
    `forget_in_gate(app_id, user_id)` is called after a user was forgotten: the gate knows them no more.
    `on_provisioning_attempt(app_id, user_id)` is called after each attempt to write a user's limits to LiteLLM.
    `signing_keys` sign what we write on our customers at Stripe, newest first; see `stripe.ownership`.
    `account`: the Stripe account that the store is bound to, '' while it is not known.
    `wrong_account`: our key is of another account or mode than the store's; nothing may be created there.
    `unknown_customers`: customers that events named and that are not ours → until when they are not asked about again.
    `recovering`: who is ours is still being found out from Stripe; nobody's limits are written until it is.
    """

    store: Store
    stripe: Stripe
    litellm: LiteLLM | None
    catalog: Catalog
    webhook_secrets: Secrets
    public_url: str
    clock: Callable[[], float]
    update_gate: Callable[[str, str, str, int | None], None]
    signing_keys: tuple[bytes, ...]
    forget_in_gate: Callable[[str, str], None] = lambda app_id, user_id: None
    on_provisioning_attempt: Callable[[str, str], None] = lambda app_id, user_id: None
    monotonic: Callable[[], float] = time.monotonic
    account: str = ""
    wrong_account: bool = False
    recovering: bool = False
    unknown_customers: dict[str, int] = field(default_factory=dict)
    catalog_secrets: Mapping[SecretRef, Secrets] = field(default_factory=dict)
    app_keys: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    known_prices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    known_products: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    prices_resolved: bool = False
    resolved_prices: dict[Price, ResolvedPrice] = field(default_factory=dict)
    missing_prices: set[Price] = field(default_factory=set)
    wakeups: Wakeups = field(default_factory=new_wakeups)
    reconciling: ReconcileState = field(default_factory=ReconcileState)
    started_at: int = field(init=False)
    skews: int = 1
    skews_settled: int = 0
    _locks: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def __post_init__(self) -> None:
        self.started_at = self.now()

    def now(self) -> int:
        """Epoch seconds."""
        return int(self.clock())

    async def write(self, job: Job[T]) -> T:
        """Run `job` in one transaction of the store, then perform its effects; both are done when this returns.

        Cancelling stops neither. A job that raises is rolled back and has no effects. After `StoreUnavailable` the rows
        may be committed all the same, but no effect was performed: a repeated job must have them again.
        """
        return await asyncio.shield(asyncio.create_task(self._write(job)))

    async def _write(self, job: Job[T]) -> T:
        def run(conn: Connection) -> tuple[T, Transaction]:
            tx = Transaction(conn, self.now())
            return job(tx), tx

        value, tx = await self.store.write(run)
        tx.effects.perform(self.wakeups, self.update_gate, self.forget_in_gate)
        return value

    def app(self, app_id: str) -> App:
        """Raises `NotFound`."""
        app = self.catalog.app(app_id)
        if app is None:
            raise NotFound(f"There is no app {app_id[:80]!r} in apps.json.", code="unknown_app")
        return app

    def known_tiers(self, app_id: str) -> dict[str, str]:
        """Price id → tier id, and product id → tier id where all of a product's prices are one tier's."""
        return {**self.known_products.get(app_id, {}), **self.known_prices.get(app_id, {})}

    def lock(self, app_id: str, user_id: str) -> asyncio.Lock:
        """One purchase of a user at a time; forgotten when nobody holds it."""
        return self._locks.setdefault((app_id, user_id), asyncio.Lock())


def tier_of(app: App, tier_id: str) -> Tier:
    """A tier of `app` by its id. Raises `NotFound`."""
    tier = app.tier(tier_id)
    if tier is None:
        raise NotFound(
            f"{app.app_id} has no tier {tier_id[:80]!r}.",
            code="unknown_tier",
            fields={"tiers": [each.tier_id for each in app.tiers if not each.internal]},
        )
    return tier
