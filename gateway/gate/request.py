"""The few headers of a request that the gate reads, each in its slot."""

from __future__ import annotations

from typing import NamedTuple

GATE, HOST, URI, METHOD, AUTHORIZATION, COOKIE, API_KEY, ACCEPT, FETCH_MODE, ORIGIN, ASKED_METHOD, LENGTH, ENCODING = (
    range(13)
)
_NAMES = (
    "X-SK-Gate", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Method", "Authorization", "Cookie", "X-Api-Key",
    "Accept", "Sec-Fetch-Mode", "Origin", "Access-Control-Request-Method", "Content-Length", "Transfer-Encoding",
)  # fmt: skip

SLOT_OF: dict[bytes, int] = {
    spelling: slot
    for slot, name in enumerate(_NAMES)
    # Go sends `X-Sk-Gate` for what is written `X-SK-Gate`; the lower-case form serves every other spelling.
    for spelling in (name.encode(), name.lower().encode(), name.title().encode())
}
EMPTY: list[bytes | None] = [None] * len(_NAMES)


class Request(NamedTuple):
    """`values` by slot; a header that came more than once has its values joined by a line feed, which none can hold,
    so that whatever compares it finds it wrong. `method` and `url` are those of the call to the gate."""

    method: bytes
    url: bytes
    values: list[bytes | None]
