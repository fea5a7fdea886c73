"""Time from apps.json with 1 000 apps to each rendering, compared with `json.dumps` of the same configuration.

    python bench/routes.py [--apps 1000]

`plain` apps have one router each, and doctor's; with `tier_routers` each app's first tier has limits and its second an
upstream of its own, which makes four more routers. Time is this process's own, the best of three.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from gateway.catalog import parse
from gateway.errors import ConfigError
from gateway.routing import FORMATS, files_of, plan, traefik_document, traefik_json

T = TypeVar("T")
PUBLIC_URL = "https://pay.example.com"
SECRET = "0123456789abcdef0123456789abcdef"


def apps_json(count: int, *, tier_routers: bool) -> bytes:
    """Apps of two tiers, each with a host."""
    apps = []
    for number in range(count):
        name, url = f"app-{number}", f"http://app-{number}:8080"
        free: dict[str, Any] = {"id": "free", "name": "Free"}
        if tier_routers:
            free["traffic"] = {"rate": {"average": 5}, "in_flight": 10}
        apps.append({
            "id": name, "name": name, "hosts": [f"{name}.example.com"], "identity": [{"kind": "user_key"}],
            "upstream": {"default": url, "pro": f"http://fast-{number}:8080"} if tier_routers else url,
            "urls": {"success": "https://a.example.com/", "cancel": "https://a.example.com/"},
            "tiers": [free, {"id": "pro", "name": "Pro", "prices": [{"price_id": f"price_{number}"}]}],
        })  # fmt: skip
    return json.dumps({"apps": apps}).encode()


def timed(work: Callable[[], T]) -> tuple[T, float]:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        result = work()
        best = min(best, time.process_time() - started)
    return result, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--apps", type=int, default=1000)
    count = parser.parse_args().apps
    for kind in ("plain", "tier routers"):
        raw = apps_json(count, tier_routers=kind == "tier routers")
        catalog, parsing = timed(partial(parse, raw))
        routes, planning = timed(partial(plan, catalog, PUBLIC_URL))
        document = traefik_document(routes, SECRET)
        text, as_json = timed(partial(json.dumps, document))
        print(f"{count} apps, {kind}: {len(document['http']['routers'])} routers, {len(text) / 1e6:.1f} MB as JSON")
        print(f"  {'apps.json read':26}{parsing:8.3f} s")
        print(f"  {'plan':26}{planning:8.3f} s")
        print(f"  {'baseline: json.dumps':26}{as_json:8.3f} s")
        _, spent = timed(partial(traefik_json, routes, SECRET))
        print(f"  {'GET /traefik':26}{spent:8.3f} s{spent / as_json:8.1f} x")
        for name in FORMATS:
            try:
                _, spent = timed(partial(files_of, routes, name))
            except ConfigError:
                print(f"  {'--format ' + name:26}  refused: labels cannot distinguish tiers")
                continue
            print(f"  {'--format ' + name:26}{spent:8.3f} s{spent / as_json:8.1f} x")


if __name__ == "__main__":
    main()
