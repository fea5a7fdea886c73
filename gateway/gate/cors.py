"""What lets a page of another origin read a refusal of the gate (CORS). Pure.

Answers that let a request through carry nothing of this: what the app says to other origins is its own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.gate import answers
from gateway.gate import request as names
from gateway.gate.request import Headers

EXPOSED = "Link, Retry-After, WWW-Authenticate, X-SK-Tier"
_VARY = b"Vary: Origin\r\n"


def cors_lines_by_origin(origins: Iterable[str]) -> Mapping[bytes, bytes]:
    """Origin as a browser sends it → the header lines of a refusal that its pages may read."""
    return {
        origin.encode("ascii"): (
            f"Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\n"
            f"Access-Control-Expose-Headers: {EXPOSED}\r\n"
        ).encode("ascii")
        + _VARY
        for origin in origins
    }


def with_cors_headers(lines: Mapping[bytes, bytes], headers: Headers, refusal: bytes) -> bytes:
    """The refusal as the origin of the request may read it; as it is where the app allows no origin."""
    if not lines:
        return refusal
    return answers.with_lines(refusal, lines.get(headers.get(names.ORIGIN, b""), _VARY))
