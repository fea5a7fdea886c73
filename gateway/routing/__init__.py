"""Catalog → plan → Traefik's dynamic configuration, Docker and Swarm labels, Cloudflare Tunnel, DockFlare. Pure."""

from gateway.routing.formats import FORMATS, REDACTED, default_formats, files_of
from gateway.routing.labels import compose_fragment, docker_labels, swarm_labels
from gateway.routing.model import Plan
from gateway.routing.planning import plan
from gateway.routing.traefik import HEADER, traefik_document, traefik_file, traefik_json
from gateway.routing.tunnel import cloudflared, dns_records, dockflare_labels, ingress, ingress_problems

__all__ = [
    "FORMATS",
    "HEADER",
    "REDACTED",
    "Plan",
    "cloudflared",
    "compose_fragment",
    "default_formats",
    "dns_records",
    "docker_labels",
    "dockflare_labels",
    "files_of",
    "ingress",
    "ingress_problems",
    "plan",
    "swarm_labels",
    "traefik_document",
    "traefik_file",
    "traefik_json",
]
