"""Parses Traefik's router rules, as far as needed to find the hosts that a router may serve. Pure.

Syntax: Traefik 3's, `Host(`a`) && (PathPrefix(`/b`) || !Header(`c`, `d`))`, texts in back-ticks or Go's double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_TOKEN = re.compile(r"\s*(?:(&&|\|\||[!(),])|([A-Za-z]\w*)|`([^`]*)`|\"((?:[^\"\\]|\\.)*)\")")
_EXACT = ("Host", "HostHeader", "HostSNI")
_PATTERN = ("HostRegexp", "HostSNIRegexp")

Reach = Literal["whole", "named", "any", "no"]
"""How a rule serves a host: every request by name; some of those; as any host; not at all."""


@dataclass(frozen=True, slots=True)
class _Match:
    """Whether a request to the host may match, whether every one does, and whether by the host's name."""

    possible: bool
    certain: bool
    named: bool = False


class _Unreadable(Exception):
    pass


def reach(rule: str, host: str) -> Reach:
    """How the router with this rule serves `host` (lower case). A rule that cannot be parsed may serve any host."""
    try:
        found = _Reader(_tokens(rule), host).whole()
    except (_Unreadable, RecursionError):
        return "any"
    if not found.possible:
        return "no"
    if not found.named:
        return "any"
    return "whole" if found.certain else "named"


def _tokens(rule: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    while rule[at:].strip():
        match = _TOKEN.match(rule, at)
        if match is None:
            raise _Unreadable
        sign, word, raw, quoted = match.groups()
        if sign is not None:
            tokens.append(("sign", sign))
        elif word is not None:
            tokens.append(("word", word))
        else:
            tokens.append(("text", raw if raw is not None else re.sub(r"\\(.)", r"\1", quoted)))
        at = match.end()
    return tokens


class _Reader:
    """Recursive descent: || binds least, then &&, then !."""

    def __init__(self, tokens: Sequence[tuple[str, str]], host: str) -> None:
        self._tokens = tokens
        self._host = host
        self._at = 0

    def whole(self) -> _Match:
        found = self._either()
        if self._at != len(self._tokens):
            raise _Unreadable
        return found

    def _either(self) -> _Match:
        found = self._both()
        while self._take("||"):
            other = self._both()
            named = (found.named and found.possible) or (other.named and other.possible)
            found = _Match(found.possible or other.possible, found.certain or other.certain, named)
        return found

    def _both(self) -> _Match:
        found = self._one()
        while self._take("&&"):
            other = self._one()
            found = _Match(
                found.possible and other.possible, found.certain and other.certain, found.named or other.named
            )
        return found

    def _one(self) -> _Match:
        if self._take("!"):
            found = self._one()
            return _Match(not found.certain, not found.possible)
        if self._take("("):
            found = self._either()
            self._expect(")")
            return found
        return self._matcher()

    def _matcher(self) -> _Match:
        name = self._next("word")
        self._expect("(")
        texts: list[str] = []
        while not self._take(")"):
            texts.append(self._next("text"))
            if not self._take(","):
                self._expect(")")
                break
        if name in _EXACT:
            if "*" in texts:
                return _Match(possible=True, certain=True)
            matched = any(_same_host(text, self._host) for text in texts)
            return _Match(matched, matched, named=self._host in (text.lower() for text in texts))
        if name in _PATTERN:
            matched = any(_fits(text, self._host) for text in texts)
            return _Match(matched, matched)
        return _Match(possible=True, certain=False)

    def _take(self, sign: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("sign", sign):
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise _Unreadable

    def _next(self, kind: str) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != kind:
            raise _Unreadable
        self._at += 1
        return self._tokens[self._at - 1][1]


def _same_host(text: str, host: str) -> bool:
    """`*.x` matches one label (since 3.7.0)."""
    text = text.lower()
    return text == host or (text.startswith("*.") and host.partition(".")[2] == text[2:])


def _fits(pattern: str, host: str) -> bool:
    """Go's expressions are close to Python's; one that Python cannot parse is assumed to match."""
    try:
        return re.search(pattern, host, re.IGNORECASE) is not None
    except re.error:
        return True
