"""The gate listener: Traefik asks it once for each proxied request."""

from gateway.gate.explaining import explain
from gateway.gate.gate import Gate
from gateway.gate.listener import Listener, listen

__all__ = ["Gate", "Listener", "explain", "listen"]
