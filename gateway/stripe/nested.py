"""Completes lists inside Stripe's objects, such as invoice lines: Stripe includes only the first page of them.

The rest is at the list's `url`. Every object that `Transport` returns is complete.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from gateway.errors import UpstreamFailed

Pages = Callable[[str, dict[str, str]], AsyncIterator[list[dict[str, Any]]]]
_URL = re.compile(r"(/v[12](?:/[A-Za-z0-9_-]+)+)(?:\?([A-Za-z0-9_.~%&=\[\]-]*))?")


async def complete(document: dict[str, Any], pages: Pages) -> None:
    """Fill every partial list inside `document` in place; not `document` itself, which `Transport.pages` continues.

    `pages(path, params)` reads a list whole. Raises `UpstreamFailed` for a list that cannot be completed.
    """
    inside = document["data"] if document.get("object") == "list" and "data" in document else list(document.values())
    for partial in list(_partial_lists(inside)):
        path, params = _next_page(partial)
        # From the start: the included part may begin elsewhere.
        partial["data"] = [item async for page in pages(path, params) for item in page]
        partial["has_more"] = False


def _partial_lists(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _partial_lists(item)
    elif isinstance(value, dict):
        if value.get("object") == "event":  # a snapshot, of which only ids are read
            return
        if value.get("object") == "list" and value.get("has_more") is True:
            yield value  # what is inside of it is read anew, and completed then
            return
        for item in value.values():
            yield from _partial_lists(item)


def _next_page(partial: dict[str, Any]) -> tuple[str, dict[str, str]]:
    url = partial.get("url")
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        raise UpstreamFailed("Stripe answered a part of a list and not where the rest is.", detail=str(url)[:200])
    return match[1], dict(parse_qsl(match[2] or ""))
