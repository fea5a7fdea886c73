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


def shared_socket(host: str, port: int) -> socket.socket:
    """Bound, not listening, with SO_REUSEPORT: several processes can listen on this address. Raises `OSError`."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != BOTH_FAMILIES)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def claim_shared_address(host: str, port: int) -> socket.socket:
    """Claim an address for the processes of one service until the socket is closed. Raises `OSError`.

    SO_REUSEPORT also admits the processes of another service of the same user, and the kernel would divide the
    requests among both. An abstract name belongs to the same network namespace as the port, and ends with the process.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0skpayments-gate {host} {port}")
    except BaseException:
        claim.close()
        raise
    return claim
