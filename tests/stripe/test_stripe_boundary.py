"""Only gateway/stripe knows Stripe's API: its paths, error codes, event types and the JSON of its objects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import gateway
from gateway.stripe.event_types import SUBSCRIBED

ROOT = Path(gateway.__file__).parent
# The sandbox plays Stripe. LiteLLM's paths begin with /v1/ as well: these rooms never import gateway.stripe.
OTHER_APIS = ("litellm", "access")
WIRE_MODULES = {"gateway.stripe.fields", "gateway.stripe.forms", "gateway.stripe.nested"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def outside(*but_not: str) -> Iterator[Path]:
    """Every file outside gateway/stripe and gateway/sandbox."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] not in ("stripe", "sandbox", *but_not):
            yield path


def texts(path: Path) -> set[str]:
    constants = (node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def imports(path: Path) -> set[str]:
    return {node.module for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) and node.module}


def test_no_other_room_knows_a_path_of_stripes_api() -> None:
    paths = ("/v1/", "v1/", "/v2/", "v2/")
    assert [(path, text) for path in outside(*OTHER_APIS) for text in texts(path) if text.startswith(paths)] == []


def test_no_other_room_compares_stripes_error_codes() -> None:
    words = ("resource_missing", "stripe_code")
    assert [(path, word) for path in outside() for word in words if word in path.read_text()] == []


def test_no_other_room_compares_stripes_http_status() -> None:
    compared = [
        (path, node.lineno)
        for path in outside()
        if _catches_stripes_errors(path)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Compare) and {400, 401, 403, 404} & set(_numbers(node))
    ]
    assert compared == []


def _catches_stripes_errors(path: Path) -> bool:
    in_billing = path.is_relative_to(ROOT / "billing") and path.parent.name != "notify"  # that calls apps' backends
    return in_billing or "gateway.stripe.errors" in imports(path)


def _numbers(node: ast.Compare) -> Iterator[object]:
    return (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))


def test_no_other_room_names_a_type_of_event() -> None:
    assert [path for path in outside() if texts(path) & set(SUBSCRIBED)] == []


def test_no_other_room_reads_or_encodes_stripes_objects() -> None:
    assert [path for path in outside() if imports(path) & WIRE_MODULES] == []


def test_billing_sends_no_requests_of_its_own() -> None:
    for path in sorted((ROOT / "billing").rglob("*.py")):
        assert "gateway.stripe.transport" not in imports(path)
        assert ".transport" not in path.read_text()


def test_the_rooms_of_other_apis_know_nothing_of_stripe() -> None:
    for room in OTHER_APIS:
        for path in sorted((ROOT / room).rglob("*.py")):
            assert not any(module.startswith("gateway.stripe") for module in imports(path))
