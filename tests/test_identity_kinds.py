"""Every identity kind has each of its parts, and nothing outside them depends on which kinds there are."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway
from gateway.access.identity.registry import VERIFIERS
from gateway.access.identity.verifier import CredentialVerifier
from gateway.app.identity.registry import LOOKUPS
from gateway.catalog.identity import KINDS
from gateway.catalog.identity.registry import IdentityShape

ROOT = Path(gateway.__file__).parent
KIND_NAMES = ("openwebui", "jwt", "header", "litellm_key", "user_key")
PARTS = ("catalog/identity", "access/identity", "app/identity")


def _verifier(kind: str) -> type[CredentialVerifier]:
    module = importlib.import_module(f"gateway.access.identity.{kind}")
    classes = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    [verifier] = [each for each in classes if issubclass(each, CredentialVerifier)]
    return verifier


def test_every_kind_has_a_declaration_and_a_verifier_and_no_other_file_has() -> None:
    assert tuple(KINDS) == tuple(VERIFIERS) == KIND_NAMES
    for part, others in zip(PARTS, ({"kind", "location", "registry", "rules"}, {"registry", "verifier"}), strict=False):
        files = {path.stem for path in (ROOT / part).glob("*.py")} - {"__init__"} - others
        assert files == set(KIND_NAMES), part


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_parts_of_a_kind_name_it(kind: str) -> None:
    assert KINDS[kind].kind == _verifier(kind).kind == kind
    assert KINDS[kind].__module__ == f"gateway.catalog.identity.{kind}"
    assert VERIFIERS[kind].__module__ == f"gateway.access.identity.{kind}"


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_kind_that_needs_lookups_can_make_them(kind: str) -> None:
    source = (ROOT / "access/identity" / f"{kind}.py").read_text(encoding="utf-8")
    assert (kind in LOOKUPS) is ("CredentialLookup(" in source)
    assert kind not in LOOKUPS or LOOKUPS[kind].__module__ == f"gateway.app.identity.{kind}"


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_keys_of_a_kind_are_those_of_its_shape(kind: str) -> None:
    declared = KINDS[kind]
    keys = {*declared.required, *declared.optional}
    assert keys <= set(IdentityShape.model_fields)
    assert set(declared.entry.model_fields) - {"kind", "namespace"} == keys - {"namespace"}
    assert set(declared.secret_keys) <= keys


def _names_of_kinds() -> set[str]:
    return {each.__name__ for each in KINDS.values()} | {_verifier(kind).__name__ for kind in KINDS}


def _switches(tree: ast.AST) -> Iterator[str]:
    """Each `isinstance` on a kind or its verifier, and each comparison with the name of a kind, as source text."""
    kinds = _names_of_kinds()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            if any(isinstance(each, ast.Name) and each.id in kinds for each in ast.walk(node)):
                yield ast.unparse(node)
        elif isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            if any(isinstance(each, ast.Attribute) and each.attr == "kind" for each in sides) and any(
                isinstance(each, ast.Constant) and each.value in KIND_NAMES for each in sides
            ):
                yield ast.unparse(node)


def test_no_other_file_switches_on_the_kind() -> None:
    own = {ROOT / part / f"{kind}.py" for part in PARTS for kind in KIND_NAMES}
    found = {
        f"{path.relative_to(ROOT)}: {switch}"
        for path in ROOT.rglob("*.py")
        if path not in own
        for switch in _switches(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "code", ["isinstance(kind, JwtIdentity)", "isinstance(v, A | OpenWebUIVerifier)", 'each.kind == "litellm_key"']
)
def test_a_switch_on_the_kind_is_found(code: str) -> None:
    assert list(_switches(ast.parse(code)))
