"""What apps.json may say of disputes and refunds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.catalog import parse
from gateway.catalog.schema import json_schema
from gateway.errors import ConfigError

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[2] / "apps.json").read_bytes())


def with_keys(**keys: object) -> dict[str, Any]:
    first, *others = DOCUMENT["apps"]
    return {**DOCUMENT, "apps": [{**first, **keys}, *others]}


def test_by_default_a_dispute_holds_and_a_refund_changes_nothing() -> None:
    app = next(iter(parse(json.dumps(DOCUMENT).encode()).apps.values()))
    assert (app.on_dispute, app.on_full_refund) == ("hold", "keep")


@pytest.mark.parametrize("on_dispute", ["hold", "keep"])
@pytest.mark.parametrize("on_full_refund", ["hold", "keep"])
def test_each_app_has_its_own_setting(on_dispute: str, on_full_refund: str) -> None:
    document = with_keys(on_dispute=on_dispute, on_full_refund=on_full_refund)
    jsonschema.validate(document, json_schema())
    app = next(iter(parse(json.dumps(document).encode()).apps.values()))
    assert (app.on_dispute, app.on_full_refund) == (on_dispute, on_full_refund)


@pytest.mark.parametrize("value", ["Hold", "", None, True, 1, ["hold"], "cancel"])
@pytest.mark.parametrize("key", ["on_dispute", "on_full_refund"])
def test_anything_else_is_refused_with_its_place(key: str, value: object) -> None:
    document = with_keys(**{key: value})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schema())
    with pytest.raises(ConfigError) as refused:
        parse(json.dumps(document).encode())
    words = '"hold", "keep"' if key == "on_dispute" else '"keep", "hold"'
    assert f"apps[0].{key}: expected one of {words}, got " in str(refused.value)
