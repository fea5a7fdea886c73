"""The session cookie in raw Cookie lines. Pure."""

from __future__ import annotations

from gateway.errors import NotAuthenticated

AGAIN = b"\n"
"""Joins the values of a header that was sent more than once: no header value can hold it."""

# Starlette (Open WebUI) reads Latin-1 and strips what Python calls white space from names and values, so
# "\xa0token" is one more `token` to it: what it would strip is stripped here too, and then counted.
_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"


def session_cookie(lines: bytes) -> bytes | None:
    """The value of the one cookie `token`, None if there is none.

    `lines` is the Cookie header, several of them joined by `AGAIN`. Raises `NotAuthenticated` if it stands there
    twice: backends differ in which one they take, so no choice is safe.
    """
    if lines[:6] == b"token=" and b";" not in lines and AGAIN not in lines:
        return lines[6:]
    if b"token" not in lines:
        return None
    found: bytes | None = None
    for part in lines.replace(AGAIN, b";").split(b";"):
        name, equals, value = part.partition(b"=")
        if equals and name.strip(_SPACE) == b"token":
            if found is not None:
                raise NotAuthenticated("the session cookie was sent twice", code="duplicate_cookie")
            found = value.strip(_SPACE)
    return found
