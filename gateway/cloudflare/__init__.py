"""Cloudflare's API, for the rules of one remotely managed tunnel; and how ours are put between other people's."""

from gateway.cloudflare.client import API_BASE, Cloudflare
from gateway.cloudflare.merge import changes, merged

__all__ = ["API_BASE", "Cloudflare", "changes", "merged"]
