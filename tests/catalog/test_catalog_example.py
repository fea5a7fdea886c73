"""The example we ship: it parses, its schema is the one of the code, and the schema takes it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gateway.catalog import json_schema, json_schema_text, parse
from gateway.catalog.model import Limits, OpenWebUIIdentity, Price, Route, SecretRef

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "apps.json").read_bytes()


def test_the_example_says_the_tiers_of_the_product() -> None:
    app = parse(EXAMPLE).app("skai")
    assert app is not None
    assert [(tier.tier_id, tier.rank, tier.for_sale, tier.internal) for tier in app.tiers] == [
        ("free", 0, False, False),
        ("pro", 1, True, False),
        ("enterprise", 2, True, False),
        ("sovereign", 3, False, True),
    ]
    assert [tier.limits for tier in app.tiers] == [
        Limits(1, "1d", 100_000, 10),
        Limits(10, "1d", 500_000, 60),
        Limits(50, "1d", 2_000_000, 120),
        Limits(None, "1d", None, None),
    ]
    assert app.tiers[1].prices == (Price(None, "skai_pro_month", 2000, "usd", "month"),)
    assert app.hosts == ("chat.example.com",)
    assert app.api_key == SecretRef("env", "SKAI_API_KEY")
    assert app.identity == (OpenWebUIIdentity(SecretRef("env", "WEBUI_SECRET_KEY")),)
    assert app.grace_seconds == 7 * 86400
    assert app.routes == (Route("/api/v1/images", min_tier="pro"), Route("/static", public=True))
    assert app.enforce


def test_the_schema_file_is_the_one_of_the_code() -> None:
    """`skpay schema > apps.schema.json` after a change of the shapes."""
    assert (ROOT / "apps.schema.json").read_text(encoding="utf-8") == json_schema_text()


def test_the_schema_takes_the_example_and_refuses_what_parse_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    document = json.loads(EXAMPLE)
    assert not list(validator.iter_errors(document))
    app = document["apps"][0]
    for change in (
        {"upstrem": "http://a"},
        {"tiers": []},
        {"api_key": "sk_live_inline"},
        {"identity": [{"kind": "openwebui"}]},
        {"identity": [{"kind": "user_key", "secret": "env:A"}]},
        {"tiers": [{"id": "free", "name": "Free", "prices": [{}]}]},
        {"tiers": [{"id": "free", "name": "Free", "limits": {"rpm_limit": "60"}}]},
    ):
        assert list(validator.iter_errors({"apps": [{**app, **change}]})), change


def test_every_object_of_the_schema_is_closed_and_every_key_of_an_app_described_or_plain() -> None:
    schema = json_schema()
    for name, part in [("apps.json", schema), *schema["$defs"].items()]:
        assert part["additionalProperties"] is False, name
        assert part["description"], name


def test_an_empty_list_of_apps_is_a_fresh_install() -> None:
    catalog = parse(b'{"apps": []}')
    assert dict(catalog.apps) == {}
    assert catalog.routing.network == "proxy"


def test_the_digest_changes_with_any_byte() -> None:
    assert parse(EXAMPLE).digest != parse(EXAMPLE + b"\n").digest
    assert parse(EXAMPLE).digest == parse(EXAMPLE).digest


def test_a_catalog_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        parse(EXAMPLE).apps["other"] = None  # type: ignore[index]  # the point: it cannot
