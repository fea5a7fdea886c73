"""A Cloudflare to play with: configurations of remotely managed tunnels, zones and DNS records. All in memory."""

from gateway.sandbox.cloudflare.app import CloudflareSandbox
from gateway.sandbox.cloudflare.faults import Fault

__all__ = ["CloudflareSandbox", "Fault"]
