"""The demo's apps.json, and the Stripe account that has its products and prices."""

from __future__ import annotations

from typing import Any

from gateway.sandbox.stripe import API_VERSION, StripeSandbox

APP_HOST = "chat.localhost"
Json = dict[str, Any]
_DAILY = {"budget_duration": "1d"}


def apps_json(app_url: str, ports: dict[str, int]) -> Json:
    """One app with the tiers of the shipped apps.json, on loopback."""
    return {
        "routing": {
            "entry_points": ["web"],
            "gate_url": [f"http://127.0.0.1:{ports['gate']}"],
            "public_service_url": f"http://127.0.0.1:{ports['port']}",
            "traefik_url": f"http://127.0.0.1:{ports['web']}",
        },
        "apps": [
            {
                "id": "skai",
                "name": "Sample chat",
                "hosts": [APP_HOST],
                "upstream": f"http://127.0.0.1:{ports['app']}",
                "api_key": "env:DEMO_APP_KEY",
                "identity": [{"kind": "openwebui", "secret": "env:DEMO_APP_SECRET"}, {"kind": "user_key"}],
                "sign_in_url": f"{app_url}/sign-in",
                "litellm": {"mode": "customer", "shared_key": "env:LITELLM_KEY"},
                "urls": {"success": f"{app_url}/?upgraded=1", "cancel": f"{app_url}/"},
                "grace": "7d",
                "anonymous": "tag",
                "tiers": _tiers(),
                "routes": [{"path": "/reports", "min_tier": "pro"}, {"path": "/health", "public": True}],
            }
        ],
    }


def _tiers() -> list[Json]:
    return [
        {
            "id": "free",
            "name": "Free",
            "limits": {"max_budget": 1, "tpm_limit": 100000, "rpm_limit": 60, "models": ["gpt-small"], **_DAILY},
        },
        {
            "id": "pro",
            "name": "Pro",
            "features": ["images"],
            "prices": [_price("skai_pro_month", 2000, "month"), _price("skai_pro_year", 20000, "year")],
            "limits": {"max_budget": 10, "tpm_limit": 500000, "rpm_limit": 60, **_DAILY},
        },
        {
            "id": "enterprise",
            "name": "Enterprise",
            "features": ["images", "priority"],
            "prices": [_price("skai_enterprise_month", 10000, "month")],
            "limits": {"max_budget": 50, "tpm_limit": 2000000, "rpm_limit": 120, **_DAILY},
        },
        {
            "id": "sovereign",
            "name": "Sovereign",
            "internal": True,
            "features": ["images", "priority"],
            "limits": {"max_budget": None, "tpm_limit": None, "rpm_limit": None},
        },
    ]


def _price(lookup_key: str, unit_amount: int, interval: str) -> Json:
    return {"lookup_key": lookup_key, "unit_amount": unit_amount, "currency": "usd", "interval": interval}


def stripe_account(apps: Json, secret_key: str, public_url: str, webhook: tuple[str, str]) -> StripeSandbox:
    """A Stripe account with the products and prices of `apps` and one webhook endpoint (URL, secret)."""
    sandbox = StripeSandbox(secret_key=secret_key, public_url=public_url)
    sandbox.add_endpoint(*webhook, api_version=API_VERSION)
    for app in apps["apps"]:
        for tier in app["tiers"]:
            if "prices" not in tier:
                continue
            product = sandbox.add_product(f"{app['name']} {tier['name']}")
            for price in tier["prices"]:
                sandbox.add_price(
                    product, price["unit_amount"], price["currency"], price["interval"], lookup_key=price["lookup_key"]
                )
    return sandbox
