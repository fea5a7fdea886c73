"""Catalog → plan → Traefik's dynamic configuration, Docker and Swarm labels, Cloudflare Tunnel, DockFlare. Pure."""

from gateway.routing.labels import compose_fragment, docker_labels, swarm_labels
from gateway.routing.model import Plan
from gateway.routing.planning import plan
from gateway.routing.traefik import traefik_document, traefik_file, traefik_secret_file
from gateway.routing.tunnel import cloudflared, dockflare_labels, ingress, ingress_problems

__all__ = [
    "Plan",
    "cloudflared",
    "compose_fragment",
    "docker_labels",
    "dockflare_labels",
    "ingress",
    "ingress_problems",
    "plan",
    "swarm_labels",
    "traefik_document",
    "traefik_file",
    "traefik_secret_file",
]
