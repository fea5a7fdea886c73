"""Every answer of the gate as bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from urllib.parse import quote

NO_STORE = (("Cache-Control", "no-store"), ("Cloudflare-CDN-Cache-Control", "no-store"))
OK_START = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"

_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"
_LINK_SAFE = "!#$%&'*+,/:;=?@~"
_MARKDOWN = re.compile(r"[\\`*_\[\]<>()#!|~]")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Sign in</title></head><body><p>{text}</p></body></html>
"""

Headers = tuple[tuple[str, str], ...]


def answer(status: int, body: bytes, content_type: str, headers: Headers = ()) -> bytes:
    """A whole answer that no cache may store."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name}: {value}" for name, value in (*NO_STORE, *headers)]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def readiness(ready: bool, problems: Mapping[str, str] | None) -> bytes:
    """200 as soon as requests are answered. `problems` do not end that: while the database is away, the gate answers
    with what it knows, and must not lose its traffic for it."""
    body = json.dumps({"ready": ready, "problems": None if problems is None else dict(problems)}).encode()
    return answer(200 if ready else 503, body, "application/json")


def refusal(
    status: int,
    code: str,
    message: str,
    fields: Mapping[str, object] | None = None,
    headers: Headers = (),
    detail: str = "",
) -> bytes:
    """`{"error": code, "message": …, "detail": …}` plus fields.

    `detail` is the field that Open WebUI shows to the user, as Markdown; by default the message as a sentence.
    """
    payload = {"error": code, "message": message, "detail": detail or sentence(message)}
    body = json.dumps({**payload, **(fields or {})}).encode()
    return answer(status, body, "application/json", headers)


def page(status: int, text: str, headers: Headers = ()) -> bytes:
    """A refusal as a page, for a browser navigation without a page to redirect to."""
    body = _PAGE.format(text=escape(text)).encode()
    return answer(
        status, body, "text/html; charset=utf-8", (("Content-Security-Policy", "default-src 'none'"), *headers)
    )


def sentence(message: str) -> str:
    """The message with a capital letter and a full stop."""
    return f"{message[:1].upper()}{message[1:]}."


def markdown_link(text: str, url: str) -> str:
    """`[text](url)`; neither can end the link early."""
    return f"[{markdown_text(text)}]({quote(url, safe=_LINK_SAFE)})"


def markdown_text(text: str) -> str:
    """A text of apps.json, escaped for Markdown."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def see_other(location: str, headers: Headers = ()) -> bytes:
    """303. No Referrer: a location may hold a signed link."""
    return answer(303, b"", "", (("Location", _url(location)), ("Referrer-Policy", "no-referrer"), *headers))


def link(url: str, relation: str) -> Headers:
    """A Link header (RFC 8288), for programs."""
    return (("Link", f'<{_url(url)}>; rel="{relation}"'),)


def _url(url: str) -> str:
    """Percent-encode what a header cannot hold."""
    return quote(url, safe=_URL_SAFE)


def with_lines(whole: bytes, lines: bytes) -> bytes:
    """The same answer with more header lines, each with its line end."""
    start, _, rest = whole.partition(b"\r\n")
    return start + b"\r\n" + lines + rest


def with_connection_close(whole: bytes) -> bytes:
    """The same answer, marked as the last one of its connection."""
    return with_lines(whole, b"Connection: close\r\n")


def without_body(whole: bytes) -> bytes:
    """The answer to a HEAD: as to a GET, Content-Length too, but no body."""
    return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


FORBIDDEN_SECRET = refusal(403, "forbidden", "this address is for Traefik only")
FORBIDDEN_HOST = refusal(403, "forbidden", "this host is not one of this app's")
NOT_FOUND = refusal(404, "not_found", "there is nothing at this address")
NO_SUCH_APP = refusal(404, "not_found", "there is no such app")
BAD_REQUEST = refusal(400, "invalid_input", "the request is malformed")
BAD_METHOD = refusal(405, "method_not_allowed", "this method is not allowed", headers=(("Allow", "GET, HEAD"),))
METHOD_REFUSED = refusal(405, "method_not_allowed", "this method is never passed to an app")
TOO_SLOW = refusal(408, "too_slow", "the request did not arrive in time")
TOO_LARGE = refusal(431, "too_large", "the request headers are too large")
TOO_MANY = refusal(503, "too_many", "too many connections", headers=(("Retry-After", "1"),))
STOPPING = refusal(503, "stopping", "shutting down; retry on a new connection", headers=(("Retry-After", "1"),))
TOO_MANY_STREAMS = refusal(503, "too_many", "too many streams of changes", headers=(("Retry-After", "5"),))
NOT_READY = refusal(
    503,
    "not_ready",
    "starting; try again in a moment",
    headers=(("Retry-After", "2"),),
    detail="The service is starting. Try again in a moment.",
)
IDENTITY_UNAVAILABLE = refusal(
    503,
    "identity_unavailable",
    "the sign-in cannot be verified now; try again",
    headers=(("Retry-After", "1"),),
    detail="Your sign-in cannot be verified now. Try again in a moment.",
)
INTERNAL = refusal(500, "internal", "internal error; it was logged")
