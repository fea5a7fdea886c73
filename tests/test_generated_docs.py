"""The generated tables of the documents are those of the code, and every setting is documented."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.catalog import parse
from gateway.cloudflare import API_BASE
from gateway.setting_variables import TERMINAL, TUNNEL, VARIABLES
from gateway.settings import read_settings
from gateway.web.auth import Caller

ROOT = Path(__file__).parents[1]
GENERATE = runpy.run_path(str(ROOT / "docs/generate.py"))
EXAMPLE = json.loads((ROOT / "docs/apps.example.json").read_text(encoding="utf-8"))
BLOCK = re.compile(r"<!-- generated: ([a-z-]+) -->")


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_generated_tables_are_current(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert GENERATE["rendered"](text) == text, "run: make docs"


def test_every_generated_table_stands_in_a_document() -> None:
    named = [name for path in ROOT.glob("docs/*.md") for name in BLOCK.findall(path.read_text(encoding="utf-8"))]
    assert sorted(named) == sorted(GENERATE["BLOCKS"])


def test_every_caller_of_the_api_is_explained() -> None:
    table = (ROOT / "docs/api.md").read_text(encoding="utf-8").split("## Authentication")[1].split("\n## ")[0]
    explained = set(re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)) - {"caller"}
    assert explained == {part for caller in get_args(Caller) for part in caller.split(" or ")}


def test_the_example_of_apps_json_is_valid_and_has_every_key() -> None:
    assert list(parse(json.dumps(EXAMPLE).encode()).apps) == ["skai"]
    assert keys_without_value(GENERATE["DocumentShape"], [EXAMPLE], "") == []


def keys_without_value(shape: Any, examples: list[Any], path: str) -> list[str]:
    missing = []
    for name, field in shape.model_fields.items():
        key = field.alias or name
        values = [example[key] for example in examples if key in example]
        if not values:
            missing.append(f"{path}.{key}")
        below, in_list = GENERATE["_shape_of"](field.annotation)
        if below is not None:
            found = [item for value in values for item in value] if in_list else values
            missing += keys_without_value(below, found, f"{path}.{key}")
    return missing


def test_every_key_of_apps_json_has_a_meaning() -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| `") and line.endswith("| - |")] == []


def test_every_variable_that_the_code_reads_is_in_the_table() -> None:
    read: set[str] = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        if "sandbox" not in path.parts:
            text = path.read_text(encoding="utf-8")
            read |= set(re.findall(r"environ(?:\.get\(|\[)\s*\"([A-Z][A-Z_]+)\"", text))
            read |= set(re.findall(r"(?:\.(?:secret|url|port|text)|_id_of)\((?:environ, )?\"([A-Z][A-Z_]+)\"", text))
    assert read >= {"PORT", "STRIPE_SECRET_KEY", "CLOUDFLARE_TUNNEL_ID", "NO_COLOR"}
    assert read <= set(VARIABLES)


def test_the_defaults_of_the_table_are_those_of_the_settings() -> None:
    secret = "".join(f"{number:x}" for number in range(1000, 1012))
    settings = read_settings(
        {
            "STRIPE_SECRET_KEY": f"sk_test_{secret}", "STRIPE_WEBHOOK_SECRET": f"whsec_{secret}",
            "GATE_SECRET": secret, "ADMIN_TOKEN": secret[::-1], "PUBLIC_URL": "https://pay.example.com",
        }
    )  # fmt: skip
    others = {variable.name for variable in (*TUNNEL, *TERMINAL)}
    for name, variable in VARIABLES.items():
        if variable.default is not None and name not in others:
            assert str(getattr(settings, name.lower())) == variable.default
    assert VARIABLES["CLOUDFLARE_API_BASE"].default == API_BASE
    assert {name for name, variable in VARIABLES.items() if variable.required and name not in others} == {
        "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "GATE_SECRET", "ADMIN_TOKEN", "PUBLIC_URL",
    }  # fmt: skip
