"""The glossary's names exist in the code, and words that it replaced do not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| `(gateway[\w.]*)` \|$", GLOSSARY, re.MULTILINE)

# Retired word → the words that took its place. No identifier of gateway/ contains one.
RETIRED = {
    "wish": "provisioning job", "wishes": "provisioning jobs",
    "newcomer": "first-seen user", "newcomers": "first-seen users", "sight": "first-seen user",
    "usual": "request cache", "teller": "notice sender", "hear": "receive", "heard": "received",
    "mend": "fix", "mended": "fixed", "vanished": "missing",
    "contested": "dispute or refund", "twin": "duplicate", "twins": "duplicates", "stranger": "unknown user",
    "strangers": "unknown users", "who": "identity", "whom": "user", "whose": "owner", "whoever": "user",
    "told": "notified, published or reported", "world": "test harness",
    "tell": "notify", "telling": "notifying",
}  # fmt: skip


def words_of(identifier: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.Name():
                yield node.id, node.lineno
            case ast.Attribute():
                yield node.attr, node.lineno
            case ast.arg():
                yield node.arg, node.lineno


@pytest.mark.parametrize("name", sorted({name for _, _, name in ENTRIES}))
def test_every_name_of_the_glossary_exists(name: str) -> None:
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        for part in parts[size:]:
            assert hasattr(found, part) or part in getattr(found, "__annotations__", {}), name
            found = getattr(found, part, None)
        return


def test_every_word_is_defined_once() -> None:
    rows = [line for line in GLOSSARY.splitlines() if line.startswith("| ") and not line.startswith("| word ")]
    assert len(rows) == len(ENTRIES) > 50
    words = [word for entry, _, _ in ENTRIES for word in entry.split(", ")]
    assert len(words) == len(set(words))


def test_no_retired_word_is_part_of_a_name() -> None:
    found = []
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        place = str(path.relative_to(ROOT))
        names = [*identifiers(ast.parse(path.read_text(encoding="utf-8"))), (path.stem, 1)]
        found += [f"{place}:{line}: {name}" for name, line in names if not RETIRED.keys().isdisjoint(words_of(name))]
    assert found == []


def test_no_retired_word_is_defined_in_the_glossary() -> None:
    assert RETIRED.keys().isdisjoint(word for entry, _, _ in ENTRIES for word in re.findall(r"[a-z]+", entry.lower()))
