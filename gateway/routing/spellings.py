"""Patterns for every spelling that some backend may read as a given header. Pure.

CGI and WSGI read X_Remote-User as X-Remote-User, others accept dots; which separators a backend folds is unknown here.
So a pattern matches the words of the name with any characters but letters and digits between and after them. The
patterns are Go's (RE2: no lookahead), anchored at the start of a name, and matched case-insensitively.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ANY_SEPARATORS = "[^a-z0-9]*"
_ONE_OR_MORE_SEPARATORS = "[^a-z0-9]+"


def every_spelling(name: str) -> str:
    """Matches the name and all its other spellings."""
    words, _ = _words_and_separators(name)
    return f"{_ANY_SEPARATORS.join(words)}{_ANY_SEPARATORS}$"


def other_spellings(name: str) -> str:
    """Matches all spellings of the name except the canonical one of Go."""
    words, separators = _words_and_separators(name)
    found: list[str] = []
    so_far = words[0]
    for place, separator in enumerate(separators):
        rest = _ANY_SEPARATORS.join(words[place + 1 :])
        found.append(f"{so_far}(?:{_any_but(separator)}){rest}{_ANY_SEPARATORS}$")
        so_far += separator + words[place + 1]
    return "|".join((*found, f"{so_far}{_ONE_OR_MORE_SEPARATORS}$"))


def any_of(patterns: Iterable[str]) -> str:
    """One pattern for names that match any of these; empty for none."""
    joined = "|".join(dict.fromkeys(patterns))
    return f"(?i)^(?:{joined})" if joined else ""


def _words_and_separators(name: str) -> tuple[list[str], list[str]]:
    """The words of a name of letters, digits and dashes, and the separators between them."""
    lower = name.lower()
    return re.findall(r"[a-z0-9]+", lower), re.findall(r"(?<=[a-z0-9])-+(?=[a-z0-9])", lower)


def _any_but(dashes: str) -> str:
    """Anything between two words but exactly these dashes."""
    fewer = "|".join("-" * count for count in range(len(dashes)))
    other = "|".join(f"{'-' * count}[^a-z0-9-]{_ANY_SEPARATORS}" for count in range(len(dashes)))
    return f"{fewer}|{other}|{dashes}{_ONE_OR_MORE_SEPARATORS}"
