"""The Host of a request in the spelling of apps.json. Pure."""

from __future__ import annotations

import re

_HOST = re.compile(r"([a-z0-9_](?:[a-z0-9_.-]{0,252}))(?::(\d{1,5}))?", re.IGNORECASE | re.ASCII)


def host_name(host: str) -> str | None:
    """Lower case, without port and without the root's trailing dot; None for anything that is no plain host name.

    Traefik routes `SK.TEST`, `sk.test.`, `sk.test:` and even `sk.test:x` to the app and passes them on verbatim. The
    last two are refused: they are no host and port (RFC 3986 allows an empty port, but no browser sends one).
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    name = match[1].lower().removesuffix(".")
    if not name or name.endswith(".") or ".." in name:
        return None
    return name
