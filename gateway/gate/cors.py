"""CORS headers, with which a page of another origin can read a refusal of the gate. Pure.

A 200 has none: the app sets its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.gate import answers
from gateway.gate import request as names
from gateway.gate.request import Headers

EXPOSED = "Link, Retry-After, WWW-Authenticate, X-SK-Tier"
_VARY = b"Vary: Origin\r\n"


def cors_lines_by_origin(origins: Iterable[str]) -> Mapping[bytes, bytes]:
    """Origin as a browser sends it → the header lines for a refusal."""
    return {
        origin.encode("ascii"): (
            f"Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\n"
            f"Access-Control-Expose-Headers: {EXPOSED}\r\n"
        ).encode("ascii")
        + _VARY
        for origin in origins
    }


def with_cors_headers(lines: Mapping[bytes, bytes], headers: Headers, refusal: bytes) -> bytes:
    """The refusal with the lines for the request's origin; unchanged if the app allows no origin."""
    if not lines:
        return refusal
    return answers.with_lines(refusal, lines.get(headers.get(names.ORIGIN, b""), _VARY))
