"""At run time only what the Open WebUI image already has (DESIGN: the list of its packages), and in its versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
IMAGE_LIST = ROOT / "tests/data/open-webui-0.12.4-slim.txt"
# Modules whose distribution is not declared, because one that is declared has them in its own signatures or needs
# them to do what we do with them.
COMES_WITH = {
    "yarl": "aiohttp",  # the URLs of its client
    "pydantic_core": "pydantic",  # its errors
    "idna": "aiohttp",  # by yarl, for hosts in Unicode
    "cryptography": "PyJWT",  # its [crypto], whose keys it takes
}


def _pins(path: Path) -> dict[str, str]:
    """name==version lines, by canonical name."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if line)}


def _declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in project["dependencies"]]


def _needed() -> set[str]:
    """The declared distributions and all that they need in turn, as installed here, by canonical name."""
    found: set[tuple[str, str]] = set()
    waiting = [(requirement.name, extra) for requirement in _declared() for extra in ("", *requirement.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (canonicalize_name(name), extra) in found:
            continue
        found.add((canonicalize_name(name), extra))
        for text in distribution(name).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in found}


def _imported() -> Iterator[tuple[Path, str]]:
    for file in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: a relative import"
                yield file, str(node.module).partition(".")[0]


def test_the_image_has_every_run_time_dependency_within_its_bounds() -> None:
    image = _pins(IMAGE_LIST)
    assert len(image) > 100
    for requirement in _declared():
        version = image[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: the image has {version}"


def test_every_bound_has_two_ends() -> None:
    """So that an image with a next major version is not taken by chance."""
    for requirement in _declared():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, requirement


def test_the_image_has_what_they_need_in_turn() -> None:
    assert _needed() - set(_pins(IMAGE_LIST)) == set()


def test_the_constraints_hold_the_images_versions() -> None:
    image, constraints = _pins(IMAGE_LIST), _pins(ROOT / "constraints.txt")
    names = _needed()
    needed = {name: version for name, version in image.items() if name in names}
    assert {"aiohttp", "yarl", "psycopg-binary", "pydantic-core"} <= set(needed)
    assert {name: constraints.get(name) for name in needed} == needed


def test_we_test_with_the_constraints_versions() -> None:
    constraints = _pins(ROOT / "constraints.txt")
    installed = {name: distribution(name).version for name in _needed()}
    assert installed == {name: constraints[name] for name in installed}


def test_the_constraints_are_what_a_tool_may_be_installed_with() -> None:
    """Every development tool is pinned too, so that a fresh clone gets the same versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    constraints = _pins(ROOT / "constraints.txt")
    for texts in project["optional-dependencies"].values():
        for requirement in map(Requirement, texts):
            if requirement.name != project["name"]:
                version = constraints[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version), requirement


def test_every_import_is_of_a_declared_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in _declared()}
    assert {canonicalize_name(owner) for owner in COMES_WITH.values()} <= declared
    owners = packages_distributions()
    undeclared = set()
    for file, module in _imported():
        if module in sys.stdlib_module_names or module == "gateway":
            continue
        names = [COMES_WITH[module]] if module in COMES_WITH else owners.get(module, [module])
        if not declared & {canonicalize_name(name) for name in names}:
            undeclared.add(f"{file.relative_to(ROOT)}: {module}")
    assert undeclared == set()


def test_no_package_index_is_named() -> None:
    """The package index is chosen by the user that installs."""
    for name in ("pyproject.toml", "constraints.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"(?i)index[-_]url|find[-_]links|://|--hash|@ *file:|\[\[?tool\.(uv|poetry|pdm)", text), (
            name
        )
