"""Messages for common mistakes in JSON, with line and column. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LITERALS = {
    "true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false", "none": "null",
    "null": "null", "nil": "null", "undefined": "null",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_NUMBER = re.compile(r"[-+.0-9][0-9A-Za-z.+_-]*")
_COMMENTS = ("//", "/*", "#")
_SINGLE_QUOTES, _CURLY_QUOTES = "'`\u2018\u2019", "\u201c\u201d\u201e"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]', re.DOTALL)


def mistake(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong and at which line and column. Quotes no value: it may be a secret."""
    place, what = _mistake(text, error)
    line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
    return f"is not JSON: line {line}, column {column}: {what}"


def _mistake(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    before, here = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    place = len(text) - len(here)
    last, first = before[-1:], here[:1]
    if "control character" in error.msg:
        return error.pos, "a line break or control character inside of a text; close the text, or write \\n"
    if first in ("}", "]") and last == ",":
        return len(before) - 1, "a comma with nothing after it; take it out"
    if first == ",":
        nothing = "after" if here[1:].lstrip()[:1] in ("}", "]") else "before"
        return place, f"a comma with nothing {nothing} it; take it out"
    if not first:
        return len(before), "the end is missing: a text, a } or a ] is not closed"
    if here.startswith(_COMMENTS):
        return place, "a comment, which JSON does not have; take it out"
    if first in _SINGLE_QUOTES + _CURLY_QUOTES:
        kind = "single" if first in _SINGLE_QUOTES else "typographic"
        return place, f'a text in {kind} quotes; write it in "double quotes"'
    if error.msg == "Extra data":
        return place, "something stands behind the end of the document"
    if first == "\\":
        return place, "a \\ that starts no escape of JSON; write \\\\ for the character itself"
    if "':'" in error.msg:
        return len(before), "a colon is missing after the key"
    return _of_value(before, here, place)


def _of_value(before: str, here: str, place: int) -> tuple[int, str]:
    """A message for text where a value or a key should be."""
    last, word = before[-1:], _WORD.match(here)
    if last and last not in ",:[{":
        return len(before), "a comma is missing"
    if here[0] == '"':
        return place, "a text that is not closed"
    if word is None:
        if _NUMBER.match(here):
            return place, "a number as JSON has none; it has such as 1.5 and -2"
        return place, f"a value or key is missing before {here[0]}" if here[0] in "}]:" else "no value of JSON"
    if here[word.end() :].lstrip()[:1] == ":":
        return place, 'a key without quotes; write it in "double quotes"'
    literal = _LITERALS.get(word[0].lower())
    return (
        place,
        f"{word[0]} instead of {literal}" if literal else 'a text without quotes; write it in "double quotes"',
    )


@dataclass(slots=True)
class _Open:
    """An object or list that is not closed yet. `part` is the key or index of the next value."""

    is_object: bool
    part: str | int = 0
    keys: set[str] = field(default_factory=set)
    key_next: bool = True


def repeated_keys(text: str) -> Iterator[tuple[tuple[str | int, ...], int, int]]:
    """The path, line and column of each repeated key. `text` is valid JSON."""
    stack: list[_Open] = []
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in "{[":
            stack.append(_Open(sign == "{"))
        elif sign in "}]":
            stack.pop()
        elif not stack:
            continue
        elif sign == "," and isinstance(stack[-1].part, int):
            stack[-1].part += 1
        elif sign == ",":
            stack[-1].key_next = True
        elif stack[-1].is_object and stack[-1].key_next and sign != ":":
            inner, key = stack[-1], str(json.loads(sign))
            inner.part, inner.key_next = key, False
            if key in inner.keys:
                place = token.start()
                line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
                yield tuple(each.part for each in stack), line, column
            inner.keys.add(key)
