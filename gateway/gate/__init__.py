"""The gate listener: Traefik asks it once for each proxied request."""

from gateway.gate.explaining import Explainer
from gateway.gate.gate import Gate
from gateway.gate.listener import Listener, listen
from gateway.gate.sockets import listening_socket

__all__ = ["Explainer", "Gate", "Listener", "listen", "listening_socket"]
