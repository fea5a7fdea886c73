"""The gate listener: Traefik calls it once for each proxied request."""

from gateway.gate.explainer import Explainer
from gateway.gate.handler import GateHandler
from gateway.gate.listener import Listener, listen
from gateway.gate.sockets import claim_shared_address, listening_socket, shared_socket

__all__ = [
    "Explainer",
    "GateHandler",
    "Listener",
    "claim_shared_address",
    "listen",
    "listening_socket",
    "shared_socket",
]
