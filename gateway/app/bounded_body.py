"""Reading the body of another program's answer up to a limit."""

from __future__ import annotations

import aiohttp

from gateway.errors import UpstreamFailed


async def read_at_most(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body. Raises `UpstreamFailed` if it is larger."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > max_bytes:
            raise UpstreamFailed(f"An answer is larger than {max_bytes >> 10} KiB.", status=response.status)
    return bytes(data)
