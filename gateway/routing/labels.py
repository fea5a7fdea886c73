"""Plan → Docker labels, Swarm labels and a compose fragment for one app, or for our own service. Pure.

The labels are the same configuration as the file's, flattened. Values are escaped for a compose file: `$` doubled,
except in the reference to the secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from gateway.catalog.model import Provider
from gateway.errors import ConfigError
from gateway.routing.model import INCOMING, Plan, Service
from gateway.routing.traefik import Tree, as_yaml, middlewares_of, routers_of
from gateway.routing.tunnel import dockflare_labels

_VARIABLE_REFERENCE = "${GATE_SECRET}"
_PORTS = {"http": 80, "https": 443}
_OFF = {"traefik.enable": "false"}


def docker_labels(plan: Plan, app_id: str | None) -> dict[str, str]:
    """Labels of an app's container; `app_id` None: of our own.

    Each app has its own `sk-in`, into which compose puts GATE_SECRET when it starts the container (empty: the gate
    refuses every request). Raises `ConfigError` for an app that needs child routers.
    """
    return {
        "traefik.enable": "true",
        "traefik.docker.network": plan.routing.network,
        **dict(_http_labels(plan, app_id)),
    }


def swarm_labels(plan: Plan, app_id: str | None) -> dict[str, str]:
    """The same for `deploy.labels`; Traefik drops a Swarm service without the port label, which both have."""
    return {
        "traefik.enable": "true",
        "traefik.swarm.network": plan.routing.network,
        **dict(_http_labels(plan, app_id)),
    }


def compose_fragment(plan: Plan, app_id: str | None, provider: Provider) -> str:
    """YAML to paste over an app's services, named as the hosts of its upstreams.

    `docker` has labels, `swarm` deploy.labels. With `file` and `http`, which have the routes, both only disable
    Traefik's default router for the container (T39). DockFlare's labels are in all of them; they lead to Traefik, never
    to the app.
    """
    tunnel = dockflare_labels(plan, app_id)
    if provider == "docker":
        options: Tree = {"labels": {**docker_labels(plan, app_id), **tunnel}}
    elif provider == "swarm":
        options = {"deploy": {"labels": {**swarm_labels(plan, app_id), **tunnel}}}
    else:
        options = {"labels": {**_OFF, **tunnel}, "deploy": {"labels": {**_OFF, **tunnel}}}
    services: Tree = {}
    for service in plan.services_of(app_id):
        # The labels of the app's first container are enough for the tunnel.
        more = {"labels": _OFF, "deploy": {"labels": _OFF}} if services else options
        services.setdefault(_container(service), {**more, "networks": [plan.routing.network]})
    return as_yaml({"services": services, "networks": {plan.routing.network: {"external": True}}})


def compose_labels(plan: Plan, app_id: str | None, labels: Mapping[str, str]) -> str:
    """YAML to paste over an app's service that has these labels and nothing else."""
    container = _container(plan.services_of(app_id)[0])
    return as_yaml({"services": {container: {"labels": dict(labels), "deploy": {"labels": dict(labels)}}}})


def _container(service: Service) -> str:
    """Its name in compose: the host of its URL."""
    return urlsplit(service.url).hostname or ""


def _http_labels(plan: Plan, app_id: str | None) -> Iterator[tuple[str, str]]:
    routers = plan.of(app_id)
    if plan.child_routers_of(app_id):
        # Tested: Traefik ignores parentRefs in labels, so a child router would be a root router without the gate.
        raise ConfigError(
            [
                f'{app_id}: labels cannot tell tiers apart; set routing.provider to "file" or "http", or take '
                "traffic and the upstreams of single tiers out of apps.json"
            ]
        )
    # Two containers with one middleware name and different values would lose both, so each app has its own.
    names = {INCOMING: f"{INCOMING}-{app_id}"}
    used = dict.fromkeys(name for router in routers for name in router.middlewares)
    middlewares = [
        replace(middleware, name=names.get(middleware.name, middleware.name))
        for middleware in map(plan.middleware, used)
        if middleware is not None
    ]
    renamed = [
        replace(router, middlewares=tuple(names.get(name, name) for name in router.middlewares)) for router in routers
    ]
    http = {
        "routers": routers_of(plan, renamed),
        "middlewares": middlewares_of(middlewares, _VARIABLE_REFERENCE),
        "services": _services(plan.services_of(app_id)),
    }
    for key, value in _flattened("traefik.http", http):
        yield key, value if value == _VARIABLE_REFERENCE else value.replace("$", "$$")


def _services(services: Sequence[Service]) -> Tree:
    """A container's service has a port; where it is, Traefik asks Docker."""
    service = services[0]
    url = urlsplit(service.url)
    server: Tree = {"port": url.port or _PORTS[url.scheme]}
    if url.scheme != "http":
        server["scheme"] = url.scheme
    return {service.name: {"loadBalancer": {"server": server}}}


def _flattened(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flattened(f"{path}.{key}", item)
    elif isinstance(value, list):
        yield path, ",".join(map(str, value))
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)
