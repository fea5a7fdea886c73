"""Plan → files: every output format, by its name for `--format`. Pure.

A format is a set of texts, each with its path under the output folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from gateway.catalog.model import Provider
from gateway.routing.labels import compose_fragment, compose_labels
from gateway.routing.model import Plan
from gateway.routing.static import static_files
from gateway.routing.traefik import traefik_document, traefik_file
from gateway.routing.tunnel import cloudflared, dns_records, dockflare_labels, remote_configuration

Files = dict[str, str]
REDACTED = "********"
TUNNEL_ID_PLACEHOLDER = "TUNNEL-ID"


def files_of(plan: Plan, name: str, tunnel_id: str | None = None) -> Files:
    """The texts of a format, by path. `tunnel_id` is for formats that name the tunnel.

    Raises `ConfigError` if the format cannot express the routes of apps.json.
    """
    return _RENDERED[name](plan, tunnel_id)


def default_formats(provider: Provider) -> tuple[str, ...]:
    """The default format."""
    return ("file", "compose", "cloudflared") if provider == "file" else ("compose", "cloudflared")


def _file(plan: Plan, _: str | None) -> Files:
    return {"dynamic/skpayments.yml": traefik_file(plan)}


def _http(plan: Plan, _: str | None) -> Files:
    """For reading only: Traefik gets it from the gate's port, with the secret in it."""
    return {"http/skpayments.json": _json(traefik_document(plan, REDACTED))}


def _fragments(folder: str, provider: Provider | None) -> Callable[[Plan, str | None], Files]:
    def render(plan: Plan, _: str | None) -> Files:
        return {
            _fragment_path(folder, app_id): compose_fragment(plan, app_id, provider or plan.routing.provider)
            for app_id in plan.app_ids()
        }

    return render


def _dockflare(folder: str, prefix: str) -> Callable[[Plan, str | None], Files]:
    def render(plan: Plan, _: str | None) -> Files:
        return {
            _fragment_path(folder, app_id): compose_labels(plan, app_id, dockflare_labels(plan, app_id, prefix))
            for app_id in plan.app_ids()
        }

    return render


def _cloudflared(plan: Plan, tunnel_id: str | None) -> Files:
    return {"cloudflared/config.yml": cloudflared(plan, tunnel_id)}


def _cloudflare(plan: Plan, _: str | None) -> Files:
    return {"cloudflare/configuration.json": _json(remote_configuration(plan))}


def _dns(plan: Plan, tunnel_id: str | None) -> Files:
    return {"cloudflare/dns.json": _json(dns_records(plan, tunnel_id or TUNNEL_ID_PLACEHOLDER))}


def _static(plan: Plan, _: str | None) -> Files:
    return static_files(plan.routing)


def _fragment_path(folder: str, app_id: str | None) -> str:
    # No app id has an underscore, so no app's file has this name.
    return f"{folder}/{app_id or '_skpayments'}.yml"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


_RENDERED: Mapping[str, Callable[[Plan, str | None], Files]] = {
    "file": _file,
    "http": _http,
    "compose": _fragments("labels", None),
    "docker": _fragments("docker", "docker"),
    "swarm": _fragments("swarm", "swarm"),
    "cloudflared": _cloudflared,
    "cloudflare": _cloudflare,
    "dns": _dns,
    "dockflare": _dockflare("dockflare", "dockflare"),
    "static": _static,
    "cloudflare-tunnel": _dockflare("cloudflare-tunnel", "cloudflare.tunnel"),
}
FORMATS = tuple(_RENDERED)
