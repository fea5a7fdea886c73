"""One cookie in raw Cookie lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.errors import NotAuthenticated

REPEATED_HEADER_SEPARATOR = b"\n"
"""Joins the values of a header that was sent more than once: no header value can contain it."""
MAX_COOKIES = 1000
"""Parsing as many takes 0.2 ms; no browser stores as many for one site."""
MAX_COOKIE_BYTES = 4096
"""The longest cookie that browsers store. Resolving as many escapes takes half a millisecond."""
DUPLICATE = "duplicate_cookie"
"""The code of a cookie that was sent more than once where the app may use either."""

# Starlette (Open WebUI) reads Latin-1 and strips what Python calls white space from names and values, so
# it reads "\xa0token" as one more `token`.
_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"
_ESCAPED = re.compile(rb"\\(?:([0-3][0-7][0-7])|(.))")


def cookie_finder(name: str, *, last_counts: bool = False) -> Callable[[bytes], bytes | None]:
    """A function that returns the value of the cookie of this name, None if it is absent or empty.

    Several Cookie headers are joined by `REPEATED_HEADER_SEPARATOR`. Of repeated cookies, `last_counts` selects the
    last one, as Starlette does (over all lines, in their order); else `NotAuthenticated` is raised, since backends
    differ in which one they use.
    """
    cookie_name = name.encode("ascii")
    start, length = cookie_name + b"=", len(cookie_name) + 1

    def find(lines: bytes) -> bytes | None:
        if lines[:length] == start and b";" not in lines and REPEATED_HEADER_SEPARATOR not in lines:
            return cookie_value(lines[length:])
        found = raw_values(cookie_name, lines)
        if len(found) > 1 and not last_counts:
            raise NotAuthenticated("the session cookie was sent twice", code=DUPLICATE)
        return cookie_value(found[-1]) if found else None

    return find


def raw_values(name: bytes, lines: bytes) -> list[bytes]:
    """The values of all cookies of this name, in their order. Raises `NotAuthenticated` at more than `MAX_COOKIES`
    cookies."""
    if name not in lines:
        return []
    if lines.count(b";") + lines.count(REPEATED_HEADER_SEPARATOR) > MAX_COOKIES:
        raise NotAuthenticated("too many cookies were sent", code="too_many_cookies")
    parts = (part.partition(b"=") for part in lines.replace(REPEATED_HEADER_SEPARATOR, b";").split(b";"))
    return [value for key, equals, value in parts if equals and key.strip(_SPACE) == name]


def cookie_value(raw: bytes) -> bytes | None:
    """A cookie's value as Starlette reads it: quotes removed and escapes resolved, as `http.cookies` does. None if it
    is empty. Raises `NotAuthenticated` for a value with escapes that is longer than browsers store."""
    value = raw.strip(_SPACE)
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        if len(value) > MAX_COOKIE_BYTES and b"\\" in value:
            raise NotAuthenticated("the session cookie is too long", code="too_long_cookie")
        value = _ESCAPED.sub(_unescaped, value[1:-1])
    return value or None


def _unescaped(match: re.Match[bytes]) -> bytes:
    octal, other = match.groups()
    return bytes([int(octal, 8)]) if octal else other
