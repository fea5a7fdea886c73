"""What others ask the catalog: apps by id, former id of a tier, host and price, and where each secret is."""

from __future__ import annotations

import json
from typing import Any

from gateway.catalog import parse
from gateway.catalog.model import EMPTY_CATALOG, Catalog
from gateway.catalog.secret_ref import SecretRef


def two_apps() -> Catalog:
    def app(app_id: str, **more: Any) -> dict[str, Any]:
        return {
            "id": app_id,
            "name": app_id,
            "hosts": [f"{app_id}.example", f"www.{app_id}.example"],
            "upstream": f"http://{app_id}",
            "identity": [{"kind": "user_key"}, {"kind": "openwebui", "secret": f"file:/run/secrets/{app_id}"}],
            "urls": {"success": "https://a.example/", "cancel": "https://a.example/"},
            "tiers": [
                {"id": "free", "name": "Free"},
                {"id": "pro", "name": "Pro", "was": ["plus"], "prices": [{"lookup_key": f"{app_id}_pro"}]},
                {"id": "old", "name": "Old", "internal": True, "prices": [{"price_id": f"price_{app_id}"}]},
            ],
            **more,
        }

    return parse(json.dumps({"apps": [app("blog", api_key="env:BLOG_KEY"), app("shop", was=["store"])]}).encode())


def test_an_app_is_found_by_its_id_and_not_by_a_former_one() -> None:
    catalog = two_apps()
    found = [catalog.app(app_id) for app_id in ("blog", "shop", "BLOG", "")]
    assert [app and app.app_id for app in found] == ["blog", "shop", None, None]
    assert catalog.app("store") is None


def test_a_tier_is_found_by_its_id_and_by_a_former_one() -> None:
    app = two_apps().apps["blog"]
    tiers = [app.tier(tier_id) for tier_id in ("free", "pro", "plus", "gold")]
    assert [tier and tier.tier_id for tier in tiers] == ["free", "pro", "pro", None]
    assert app.default_tier.tier_id == "free"


def test_a_tier_that_is_no_longer_sold_keeps_its_price() -> None:
    """Users who pay it stay on it; it is not for sale any more."""
    prices = two_apps().prices()
    assert [(app.app_id, tier.tier_id, price.lookup_key or price.price_id) for app, tier, price in prices] == [
        ("blog", "pro", "blog_pro"),
        ("blog", "old", "price_blog"),
        ("shop", "pro", "shop_pro"),
        ("shop", "old", "price_shop"),
    ]
    assert [tier.for_sale for _, tier, _ in prices] == [True, False, True, False]


def test_each_secret_is_listed_with_its_path() -> None:
    assert two_apps().secret_refs() == (
        ("apps[0].api_key", SecretRef("env", "BLOG_KEY")),
        ("apps[0].identity[1].secret", SecretRef("file", "/run/secrets/blog")),
        ("apps[1].identity[1].secret", SecretRef("file", "/run/secrets/shop")),
    )
    assert str(SecretRef("env", "BLOG_KEY")) == "env:BLOG_KEY"


def test_the_empty_catalog_has_nothing() -> None:
    assert EMPTY_CATALOG.prices() == EMPTY_CATALOG.secret_refs() == ()
