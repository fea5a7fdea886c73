"""Small valid catalogs for the routing tests."""

from __future__ import annotations

import json

from gateway.catalog import parse
from gateway.catalog.model import Catalog

PUBLIC_URL = "https://pay.example.com"


def apps_json(apps: list[tuple[str, list[str]]], **routing: object) -> bytes:
    return json.dumps(
        {
            "apps": [
                {
                    "id": app_id,
                    "name": app_id,
                    "hosts": hosts,
                    "upstream": f"http://{app_id}:3000",
                    "identity": [{"kind": "user_key"}],
                    "urls": {"success": "https://a.example/", "cancel": "https://a.example/"},
                    "tiers": [{"id": "free", "name": "Free"}],
                    "routes": [{"path": "/static", "public": True}],
                }
                for app_id, hosts in apps
            ],
            "routing": routing,
        }
    ).encode()


def catalog(*hosts: str, **routing: object) -> Catalog:
    return parse(apps_json([("blog", list(hosts or ["blog.example.com"]))], **routing))
