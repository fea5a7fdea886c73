"""Walks the raw tree of apps.json for the rules between its values; values of another type are skipped. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice

from gateway.catalog.document import Path, Problem, path_text, quoted

Raw = Mapping[str, object]
Apps = Sequence[tuple[Path, Raw]]
_MIN_PART_LENGTH = 3
_MAX_NAMES_LISTED = 8
PathValues = Iterator[tuple[Path, Hashable]]


def objects(parent: Raw, path: Path) -> Iterator[tuple[Path, Raw]]:
    """The objects in the list `parent[path[-1]]`, each with its path."""
    items = parent.get(str(path[-1]))
    for number, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield (*path, number), item


def texts(parent: Raw, path: Path) -> Iterator[tuple[Path, str]]:
    """The texts in the list `parent[path[-1]]`, each with its path."""
    items = parent.get(str(path[-1]))
    for number, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, str):
            yield (*path, number), item


def text(parent: Raw, path: Path) -> Iterator[tuple[Path, str]]:
    """`parent[path[-1]]` with its path, if it is a text."""
    item = parent.get(str(path[-1]))
    if isinstance(item, str):
        yield path, item


def duplicates(values: PathValues, what: str) -> Iterator[Problem]:
    """A problem for each repeated value, with the path of the first one."""
    first: dict[Hashable, Path] = {}
    for path, value in values:
        before = first.setdefault(value, path)
        if before != path:
            yield path, f"{what} is used at {path_text(before)} too"


def known(path: Path, name: str, names: Mapping[str, None], what: str) -> Iterator[Problem]:
    """A problem if `name` is none of `names`."""
    if name not in names:
        hint = suggestion(name, names) or (f"; choose from {_listed(names)}" if names else "")
        yield path, f"expected a {what}, got {quoted(name)}{hint}"


def _listed(names: Mapping[str, None]) -> str:
    shown = [_quoted(name) for name in islice(names, _MAX_NAMES_LISTED)]
    return ", ".join([*shown, "…"] if len(names) > len(shown) else shown)


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean "tier"?`, or "" if none of the first hundred names is similar.

    Similar is the same in another spelling (`rpmLimit`), a misspelling, or a part of the name (`rpm` of `rpm_limit`).
    """
    name, known = name[:100], list(islice(names, 100))
    near = [each for each in known if _plain(each) == _plain(name)] or get_close_matches(name, known, 1)
    near = near or [each for each in known if _is_part(_plain(name), each)]
    return f"; did you mean {' or '.join(map(_quoted, near[:2]))}?" if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _is_part(plain: str, name: str) -> bool:
    """Whether one of the two begins with the other, or is one of its words."""
    if len(plain) < _MIN_PART_LENGTH:
        return False
    return plain in name.lower().split("_") or _plain(name).startswith(plain) or plain.startswith(_plain(name))


def _quoted(name: str) -> str:
    return f'"{name}"'
