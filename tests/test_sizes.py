"""A function fits on a screen, and a module has one subject."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

GATEWAY = Path(__file__).parents[1] / "gateway"
MAX_FUNCTION_LINES, MAX_MODULE_LINES = 40, 350


def functions() -> Iterator[tuple[str, int]]:
    for path in GATEWAY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(GATEWAY)}:{node.name}"
                yield name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_every_function_fits_on_a_screen() -> None:
    counted = dict(functions())
    assert len(counted) > 1000
    assert {name: lines for name, lines in counted.items() if lines > MAX_FUNCTION_LINES} == {}


def test_every_module_is_short() -> None:
    counted = {str(path.relative_to(GATEWAY)): len(path.read_text().splitlines()) for path in GATEWAY.rglob("*.py")}
    assert {name: lines for name, lines in counted.items() if lines > MAX_MODULE_LINES} == {}
