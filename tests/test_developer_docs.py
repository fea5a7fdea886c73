"""The files and names that CONTRIBUTING.md and docs/architecture.md cite exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "gateway", ROOT, ROOT / "docs")
DOCUMENTS = [path for path in (ROOT / "CONTRIBUTING.md", ROOT / "docs/architecture.md") if path.exists()]
CITED = re.compile(r"(?<![\w/.])((?:[a-z_][\w-]*/)*[a-z_][\w-]*\.py|(?:[a-z_][\w-]*/)+)(?::([A-Za-z_][\w.]*))?")


def citations() -> list[tuple[str, str, str]]:
    found = {
        (document.name, path, name)
        for document in DOCUMENTS
        for path, name in CITED.findall(document.read_text(encoding="utf-8"))
    }
    return sorted(found)


def located(path: str) -> Path | None:
    return next((folder / path for folder in FOLDERS if (folder / path).exists()), None)


@cache
def names_in(file: Path) -> set[str]:
    """Functions, classes, methods (as `Class.method` and `method`) and module-level values."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef):
            methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            names |= {name for method in methods for name in (method, f"{node.name}.{method}")}
    return names


@pytest.mark.parametrize(("document", "path", "name"), citations())
def test_what_the_developer_documents_cite_exists(document: str, path: str, name: str) -> None:
    found = located(path)
    assert found is not None, f"{document}: {path}"
    if name:
        assert name in names_in(found), f"{document}: {path}:{name}"
