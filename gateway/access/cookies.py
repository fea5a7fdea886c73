"""One cookie in raw Cookie lines. Pure."""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import NotAuthenticated

AGAIN = b"\n"
"""Joins the values of a header that was sent more than once: no header value can hold it."""
MAX_COOKIES = 1000
"""Looking through them takes 0.2 ms; no browser keeps as many for one site."""

# Starlette (Open WebUI) reads Latin-1 and strips what Python calls white space from names and values, so
# "\xa0token" is one more `token` to it: what it would strip is stripped here too, and then counted.
_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"


def cookie_finder(name: str) -> Callable[[bytes], bytes | None]:
    """What finds the value of the one cookie of this name, None if there is none.

    It is given the Cookie header, several of them joined by `AGAIN`, and raises `NotAuthenticated` if the cookie
    stands there twice: backends differ in which one they take, so no choice is safe.
    """
    wanted = name.encode("ascii")
    start, length = wanted + b"=", len(wanted) + 1

    def find(lines: bytes) -> bytes | None:
        if lines[:length] == start and b";" not in lines and AGAIN not in lines:
            return lines[length:]
        if wanted not in lines:
            return None
        if lines.count(b";") + lines.count(AGAIN) > MAX_COOKIES:
            raise NotAuthenticated("too many cookies were sent", code="too_many_cookies")
        found: bytes | None = None
        for part in lines.replace(AGAIN, b";").split(b";"):
            key, equals, value = part.partition(b"=")
            if equals and key.strip(_SPACE) == wanted:
                if found is not None:
                    raise NotAuthenticated("the session cookie was sent twice", code="duplicate_cookie")
                found = value.strip(_SPACE)
        return found

    return find
