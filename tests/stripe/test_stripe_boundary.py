"""Only gateway/stripe knows Stripe's API: its paths, its error codes and the JSON of its objects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
# The sandbox plays Stripe. LiteLLM's paths begin with /v1/ as well: those rooms never import gateway.stripe.
OTHER_APIS = ("litellm", "access")
OUTSIDE = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in ("stripe", "sandbox")]
ABOUT_STRIPE = [path for path in OUTSIDE if path.relative_to(ROOT).parts[0] not in OTHER_APIS]
WIRE_MODULES = ("gateway.stripe.fields", "gateway.stripe.forms", "gateway.stripe.nested")


def texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", ABOUT_STRIPE, ids=name)
def test_no_other_room_knows_a_path_of_stripes_api(path: Path) -> None:
    assert [text for text in texts(path) if text.startswith(("/v1/", "v1/", "/v2/", "v2/"))] == []


@pytest.mark.parametrize("path", OUTSIDE, ids=name)
def test_no_other_room_compares_stripes_error_codes(path: Path) -> None:
    assert "resource_missing" not in path.read_text()
    assert "stripe_code" not in path.read_text()


@pytest.mark.parametrize("path", OUTSIDE, ids=name)
def test_no_other_room_reads_or_encodes_stripes_objects(path: Path) -> None:
    assert set(WIRE_MODULES).isdisjoint(imports(path))


@pytest.mark.parametrize("path", [path for path in OUTSIDE if name(path).startswith("billing/")], ids=name)
def test_billing_sends_no_requests_of_its_own(path: Path) -> None:
    assert "gateway.stripe.transport" not in set(imports(path))
    assert ".transport" not in path.read_text()


@pytest.mark.parametrize("room", OTHER_APIS)
def test_the_rooms_of_other_apis_know_nothing_of_stripe(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        assert not any(module.startswith("gateway.stripe") for module in imports(path))
