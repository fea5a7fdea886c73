"""A Cloudflare to play with: the configurations of remotely managed tunnels, as the API keeps them. All in memory."""

from gateway.sandbox.cloudflare.app import CloudflareSandbox
from gateway.sandbox.cloudflare.faults import Fault

__all__ = ["CloudflareSandbox", "Fault"]
