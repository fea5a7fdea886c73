"""The bytes of apps.json → a plain tree, with the problems that `json.loads` does not report. Pure.

`json.loads` alone accepts duplicate keys, NaN and 1e999, and raises RecursionError on deep nesting.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from gateway.catalog.json_mistakes import mistake, repeated_keys
from gateway.files import decoded
from gateway.log import redact

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
# Some 8000 apps. Every value but the first of its list or object has a comma before it.
MAX_COMMAS = 250_000
# No number in apps.json is nearly as long; int() raises its own error for much longer ones.
_MAX_DIGITS = 30
_MAX_QUOTED_CHARACTERS = 60
_MAX_REPEATED_KEYS_SHOWN = 200
_REPEATED_KEY = "this key stands here more than once"
# A string is one token, closed or not, so that its brackets are not counted and no input is read twice.
_DEPTH_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")

Path = tuple[str | int, ...]
Problem = tuple[Path, str]
"""Path and message; `line` joins them to one line of a `ConfigError`."""


class NotJsonObject(Exception):
    """The text is no JSON object, so no other problem can be reported."""


class _Object(dict[str, object]):
    """A JSON object as parsed, with its duplicate keys."""

    duplicates: tuple[str, ...] = ()


class _BadNumber:
    """NaN, Infinity, 1e999 or a number of too many digits, kept until its path is known, to report it."""

    def __init__(self, text: str) -> None:
        self.text = text


def path_text(path: Path) -> str:
    """`("apps", 0, "name")` as `apps[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{shortened(part)}" if text else shortened(part)
        else:
            text += f"[{quoted(part)}]"
    return text


def line(source: str, problem: Problem) -> str:
    """`apps.json: apps[0].name: what is wrong`."""
    path, what = problem
    return ": ".join(part for part in (source, path_text(path), what) if part)


def shortened(text: str) -> str:
    shown = str(redact(text))
    return shown if len(shown) <= _MAX_QUOTED_CHARACTERS else shown[:_MAX_QUOTED_CHARACTERS] + "…"


def quoted(value: object) -> str:
    """A scalar as in the file, shortened and printable, with anything like a secret replaced by stars."""
    if isinstance(value, str):
        if "@" in value and "//" in value:
            return "a text with // and @, not shown as it may hold a password"
        text = json.dumps(shortened(value), ensure_ascii=False)
        return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    if isinstance(value, bool | int | float) or value is None:
        return json.dumps(value)[:_MAX_QUOTED_CHARACTERS]
    return kind(value)


def kind(value: object) -> str:
    """The type of a JSON value, in words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        return "a text"
    if value is None:
        return "null"
    return "a truth value" if isinstance(value, bool) else "a number"


def read(raw: bytes) -> tuple[dict[str, object], list[Problem]]:
    """The tree and its problems (duplicate keys, bad numbers, half characters). Raises `NotJsonObject`."""
    text = _text(raw)
    if raw.count(b",") > MAX_COMMAS:
        raise NotJsonObject(f"holds more than {MAX_COMMAS} values")
    if _depth(text) > MAX_DEPTH:
        raise NotJsonObject(f"nested deeper than {MAX_DEPTH} levels")
    try:
        tree = json.loads(
            text, object_pairs_hook=_object, parse_constant=_BadNumber, parse_float=_float, parse_int=_int
        )
    except json.JSONDecodeError as exc:
        raise NotJsonObject(mistake(text, exc)) from None
    if not isinstance(tree, dict):
        instead = '. Use {"apps": [...]}.' if isinstance(tree, list) else ""
        raise NotJsonObject(f"expected an object, got {kind(tree)}{instead}")
    if "apps" not in tree and "id" in tree and "tiers" in tree:
        raise NotJsonObject('expected {"apps": [...]}, got one app. Put it into that list.')
    found = list(_problems(tree, ()))
    if any(what == _REPEATED_KEY for _, what in found):
        found = [problem for problem in found if problem[1] != _REPEATED_KEY] + [
            (path, f"{_REPEATED_KEY}: again at line {line}, column {column}")
            for path, line, column in islice(repeated_keys(text), _MAX_REPEATED_KEYS_SHOWN)
        ]
    return tree, found


def _text(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise NotJsonObject(f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = decoded(raw)
    except ValueError as exc:
        raise NotJsonObject(str(exc)) from None
    if not text.strip():
        raise NotJsonObject('is empty; the least there can be is {"apps": []}')
    return text


def _depth(text: str) -> int:
    """The deepest nesting, counted before anything recurses over the text."""
    depth = deepest = 0
    for token in _DEPTH_TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, object]]) -> _Object:
    result = _Object(pairs)
    if len(result) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        result.duplicates = tuple(key for key, count in counts.items() if count > 1)
    return result


def _float(text: str) -> float | _BadNumber:
    value = float(text)
    return value if math.isfinite(value) else _BadNumber(text)


def _int(text: str) -> int | _BadNumber:
    return int(text) if len(text) <= _MAX_DIGITS else _BadNumber(text)


def _problems(value: object, path: Path) -> Iterator[Problem]:
    if isinstance(value, _Object):
        for key in value.duplicates:
            yield (*path, key), _REPEATED_KEY
        for key, item in value.items():
            if not _encodes(key):
                yield path, "a key has half a character (a lone surrogate) in it"
            yield from _problems(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _problems(item, (*path, number))
    elif isinstance(value, _BadNumber):
        yield path, f"expected a finite number, got {shortened(value.text)}"
    elif isinstance(value, str) and not _encodes(value):
        yield path, "has half a character (a lone surrogate) in it"


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
