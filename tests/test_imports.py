"""The import graph of the package has no cycle; its layers are import-linter's (pyproject.toml)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("gateway", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as exc:
        raise AssertionError(f"an import cycle: {' -> '.join(reversed(exc.args[1]))}") from None
