"""Cloudflare's API for one remotely managed tunnel and its DNS records, merged with those of others."""

from gateway.cloudflare.client import API_BASE, Cloudflare
from gateway.cloudflare.dns import DnsPlan, RecordChange, dns_plan, zone_of
from gateway.cloudflare.merge import changes, merged

__all__ = ["API_BASE", "Cloudflare", "DnsPlan", "RecordChange", "changes", "dns_plan", "merged", "zone_of"]
