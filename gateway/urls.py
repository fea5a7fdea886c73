"""URLs of vendors' APIs: each id is one percent-encoded path segment or query value. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from yarl import URL

from gateway.errors import InvalidInput

_SEGMENT = re.compile(r"(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9_.~-]|%(?!2E)[0-9A-F]{2})+")
_DOT_SEGMENTS = (".", "..")


def api_path(folder: str, *segments: str) -> str:
    """`/folder/segment/…`. `folder` is a constant such as "v1/customers"; each segment may be any text.

    Raises `InvalidInput` for a segment that cannot be quoted: empty, "." or "..".
    """
    if any(not segment or segment in _DOT_SEGMENTS for segment in segments):
        raise InvalidInput("An id in a URL must not be empty or consist of dots.", code="invalid_id")
    return "/" + "/".join([folder, *(quote(segment, safe="") for segment in segments)])


def api_query(pairs: Iterable[tuple[str, str]]) -> str:
    """`name=value&…`, with %20 for a space: LiteLLM reads `+` as a plus sign."""
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def api_url(base: str, path: str, query: str = "") -> URL:
    """The address of `path` below `base`, sent without further normalisation.

    Raises `InvalidInput` for a path that `api_path` cannot have made, so that no id can choose the address.
    """
    if not path.startswith("/") or not all(_SEGMENT.fullmatch(segment) for segment in path[1:].split("/")):
        raise InvalidInput("This API path does not consist of quoted segments.", detail=path[:200])
    address = str(URL(base)).rstrip("/") + path
    return URL(f"{address}?{query}" if query else address, encoded=True)
