"""The cost of a full reconcile: 100 000 customers compared in bulk, one in a hundred of them different.

    python bench/reconcile.py [--customers 100000] [--differing 100]

Stripe and LiteLLM are made up in this process, page by page and without sockets, and no pause is kept between pages:
what is timed is our own work. Against the real Stripe the pause alone is 0.1 s for each 100 subscriptions. Memory is
measured in a process of its own for each size; it should not grow with the customers who agree.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.checkout.prices import load_known_prices
from gateway.billing.context import Billing
from gateway.billing.events.webhook_state import WebhookState
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.reconcile.reconcile import reconcile
from gateway.billing.reconcile.state import ReconcileOptions
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog import parse
from gateway.litellm import LiteLLM
from gateway.litellm.wire import Answer, Wire
from gateway.settings import Secret
from gateway.store import Store
from gateway.store.schema import customers, entitlements, litellm_ids
from gateway.stripe.client import Stripe
from gateway.stripe.transport import Transport

NOW = 1_800_000_000
PAGE = 100
CHUNK = 500
TIERS = [
    {"id": "free", "name": "Free", "limits": {"max_budget": 1, "rpm_limit": 10}},
    {"id": "pro", "name": "Pro", "limits": {"max_budget": 10, "rpm_limit": 60}, "prices": [{"price_id": "price_1"}]},
]
APPS = {
    "apps": [{
        "id": "skai", "name": "SKAI", "hosts": ["chat.example.com"], "upstream": "http://app:8080",
        "identity": [{"kind": "user_key"}], "litellm": {"mode": "customer"},
        "urls": {"success": "https://chat.example.com/", "cancel": "https://chat.example.com/"}, "tiers": TIERS,
    }]
}  # fmt: skip


class MadeUpTransport(Transport):
    """One active subscription for each customer; every `differing`th of them was canceled without an event."""

    def __init__(self, count: int, differing: int) -> None:
        super().__init__(None, (Secret("sk_live_bench"),), api_base="")  # type: ignore[arg-type]  # never connects
        self._count, self._differing = count, differing
        self.requests: Counter[str] = Counter()

    async def get(self, path: str, params: Any = None) -> dict[str, Any]:
        params = params or {}
        if path != "/v1/subscriptions":
            self.requests["other"] += 1
            return {"id": path.rpartition("/")[2], "object": "customer"}
        if "customer" in params:
            self.requests["one by one"] += 1
            numbers, more = [int(params["customer"][4:])], False
        else:
            self.requests["bulk"] += 1
            first = int(params["starting_after"][4:]) + 1 if params.get("starting_after") else 0
            numbers = list(range(first, min(first + PAGE, self._count)))
            more = first + PAGE < self._count
        # Through JSON, as over HTTP.
        answer: dict[str, Any] = json.loads(json.dumps({"data": [self._row(n) for n in numbers], "has_more": more}))
        return answer

    def _row(self, number: int) -> dict[str, Any]:
        canceled = number % self._differing == 0
        item = {
            "id": f"si_{number}", "object": "subscription_item", "quantity": 1, "current_period_end": NOW + 9999,
            "metadata": {}, "discounts": [], "tax_rates": [], "subscription": f"sub_{number}",
            "price": {"id": "price_1", "lookup_key": None, "product": "prod_1", "recurring": {"interval": "month"}},
        }  # fmt: skip
        return {
            "id": f"sub_{number}", "object": "subscription", "customer": f"cus_{number:08d}", "created": NOW - 9999,
            "status": "canceled" if canceled else "active", "ended_at": NOW - 5 if canceled else None,
            "cancel_at": None, "cancel_at_period_end": False, "collection_method": "charge_automatically",
            "metadata": {"app_id": "skai", "user_id": f"u{number}"}, "items": {"data": [item], "has_more": False},
        }  # fmt: skip


class MadeUpWire(Wire):
    """Every customer has the budget of their tier."""

    def __init__(self) -> None:
        super().__init__(None, "", ())  # type: ignore[arg-type]  # never connects
        self.calls = 0

    async def call(self, method: str, path: str, *, query: Any = None, **more: Any) -> Answer:
        self.calls += 1
        if path == "/customer/list":
            return Answer(200, [])
        budget = {"max_budget": 10, "budget_duration": "1d", "tpm_limit": None, "rpm_limit": 60}
        return Answer(
            200,
            {
                "user_id": query["end_user_id"],
                "budget_id": "skai.pro",
                "models": ["all-proxy-models"],
                "litellm_budget_table": budget,
            },
        )


def fill(conn: Connection, first: int, last: int) -> None:
    """Paying users, as our own refreshes store them."""
    numbers = range(first, last)
    conn.execute(
        insert(customers),
        [{"customer_id": f"cus_{n:08d}", "app_id": "skai", "user_id": f"u{n}", "created_at": NOW} for n in numbers],
    )
    decided = {
        "app_id": "skai", "tier": "pro", "reason": "active", "source": "subscription", "status": "active",
        "price_id": "price_1", "changes_to_come": "[]", "concerns": "[]", "version": 1, "changed_at": NOW,
        "updated_at": NOW,
    }  # fmt: skip
    conn.execute(
        insert(entitlements),
        [
            {**decided, "user_id": f"u{n}", "customer_id": f"cus_{n:08d}", "subscription_id": f"sub_{n}"}
            for n in numbers
        ],
    )
    logged = {"mode": "customer", "app_id": "skai", "claimed_at": NOW}
    conn.execute(insert(litellm_ids), [{**logged, "litellm_id": f"u{n}", "user_id": f"u{n}"} for n in numbers])


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(count: int, differing: int) -> dict[str, float]:
    """One dry pass over so many customers."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{Path(folder) / 'bench.db'}")
        for first in range(0, count, CHUNK):
            await store.write(lambda conn, first=first: fill(conn, first, min(first + CHUNK, count)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        transport, wire = MadeUpTransport(count, differing), MadeUpWire()
        litellm = LiteLLM(None, "", ())  # type: ignore[arg-type]  # its wire is replaced
        litellm._wire = wire
        billing = Billing(
            work=UnitOfWork(store, lambda: NOW), stripe=Stripe(transport), litellm=litellm,
            apps=InstalledApps(parse(json.dumps(APPS).encode())), account=StripeAccount((b"bench",)),
            webhooks=WebhookState(()),
        )  # fmt: skip
        await load_known_prices(billing)
        billing.reconciling.pace = RateLimiter(1e9)
        before = peak_mb()
        began_at = time.perf_counter()
        report = await reconcile(billing, ReconcileOptions())
        seconds = time.perf_counter() - began_at
        await store.close()
    assert report.lowered == report.checked.one_by_one == -(-count // differing), report.shown()["counts"]
    return {
        "seconds": seconds, "bulk": transport.requests["bulk"], "one_by_one": transport.requests["one by one"],
        "litellm": wire.calls, "before_mb": before, "peak_mb": peak_mb(),
    }  # fmt: skip


def in_its_own_process(count: int, differing: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--customers", str(count), "--differing", str(differing), "--measure"]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--customers", type=int, default=100_000)
    options.add_argument("--differing", type=int, default=100, help="every so-many-th customer differs")
    options.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        print(json.dumps(asyncio.run(measure(chosen.customers, chosen.differing))))
        return
    small, large = (in_its_own_process(n, chosen.differing) for n in (chosen.customers // 10, chosen.customers))
    for count, found in ((chosen.customers // 10, small), (chosen.customers, large)):
        print(
            f"{count:>7} customers: {found['seconds']:6.1f} s, {found['bulk']:.0f} pages in bulk,"
            f" {found['one_by_one']:.0f} looked up one by one, {found['litellm']:.0f} read from LiteLLM,"
            f" peak {found['peak_mb']:.1f} MB ({found['before_mb']:.1f} MB before)"
        )
    print(f"memory at ten times the customers: {large['peak_mb'] / small['peak_mb']:.2f} x")


if __name__ == "__main__":
    main()
