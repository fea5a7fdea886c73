"""Cloudflare's API, for one remotely managed tunnel and its DNS; and how ours stands between other people's."""

from gateway.cloudflare.client import API_BASE, Cloudflare
from gateway.cloudflare.dns import DnsPlan, RecordChange, dns_plan, zone_of
from gateway.cloudflare.merge import changes, merged

__all__ = ["API_BASE", "Cloudflare", "DnsPlan", "RecordChange", "changes", "dns_plan", "merged", "zone_of"]
