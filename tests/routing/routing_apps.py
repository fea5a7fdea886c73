"""Small valid catalogs for the routing tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

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


@composite
def catalogs(draw: DrawFn, children: bool = True) -> Catalog:
    """Any apps.json as far as routes go; `children` False: without limits and upstreams of single tiers."""
    ids = draw(st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,7}[a-z0-9])?", fullmatch=True), unique=True, max_size=5))
    label = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,5}[a-zA-Z0-9])?", fullmatch=True) | st.sampled_from(
        ["bücher", "日本語", "sk", "in"]
    )
    number = iter(range(1000))
    apps = []
    for app_id in ids:
        labels = draw(st.lists(label.filter(lambda text: not text.lower().startswith("xn--")), min_size=1, max_size=3))
        apps.append((app_id, [f"{text}.h{next(number)}.example" for text in labels]))
    tree = json.loads(
        apps_json(
            apps,
            cert_resolver=draw(st.none() | st.just("letsencrypt")),
            entry_points=draw(st.sampled_from([["web"], ["a", "b"]])),
            trusted_ips=draw(st.sampled_from([[], ["172.20.0.5/32", "fd00::5"]])),
        )
    )
    for app in tree["apps"]:
        if draw(st.booleans()):
            app["identity"] = [{"kind": "header", "name": "Remote-User", "after": "authelia@file"}]
        if children:
            _draw_children(draw, app)
    return parse(json.dumps(tree).encode())


def _draw_children(draw: DrawFn, app: dict[str, Any]) -> None:
    tier_ids = draw(
        st.lists(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,6}", fullmatch=True), unique=True, min_size=1, max_size=4)
    )
    limits = st.fixed_dictionaries(
        {}, optional={"in_flight": st.integers(1, 9), "rate": st.fixed_dictionaries({"average": st.integers(1, 99)})}
    ).filter(bool)
    app["tiers"] = [{"id": tier_id, "name": "x", "traffic": draw(st.none() | limits)} for tier_id in tier_ids]
    own = [tier_id for tier_id in tier_ids if tier_id != "default" and draw(st.booleans())]
    if own:
        app["upstream"] = {"default": app["upstream"], **dict.fromkeys(own, f"http://{app['id']}-fast:1")}


def catalog(*hosts: str, **routing: object) -> Catalog:
    return parse(apps_json([("blog", list(hosts or ["blog.example.com"]))], **routing))
