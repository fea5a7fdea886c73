"""The socket that a listener accepts on."""

from __future__ import annotations

import socket

BOTH_FAMILIES = "::"


def listening_socket(host: str, port: int, backlog: int) -> socket.socket | None:
    """For `::` a socket that accepts IPv4 too; None for every other address, which the event loop opens.

    asyncio opens `::` with IPV6_V6ONLY, so that IPv4 clients such as 127.0.0.1 cannot connect.
    """
    if host != BOTH_FAMILIES:
        return None
    return socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
