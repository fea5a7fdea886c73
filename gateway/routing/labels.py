"""Plan → Docker labels, Swarm labels and a compose fragment for one app, or for our own service. Pure.

The labels are the same configuration as the file's, flattened. Values are as a compose file needs them: `$` doubled,
except in the reference to the secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from gateway.errors import ConfigError
from gateway.routing.model import INCOMING, Plan, Router, Service
from gateway.routing.traefik import Tree, as_yaml, document_of
from gateway.routing.tunnel import dockflare_labels

Incoming = Literal["own", "file"]
_REFERENCE = "${GATE_SECRET}"
_PORTS = {"http": 80, "https": 443}


def docker_labels(plan: Plan, app_id: str | None, incoming: Incoming = "own") -> dict[str, str]:
    """Labels of an app's container; `app_id` None: of our own.

    `incoming="own"`: the container has a `sk-in` of its own, into which compose puts GATE_SECRET when it starts the
    container (empty: the gate refuses everything). `incoming="file"`: it uses `sk-in@file` (`traefik_secret_file`), so
    that no label holds the secret.
    """
    return {
        "traefik.enable": "true",
        "traefik.docker.network": plan.network,
        **dict(_http_labels(plan, app_id, incoming)),
    }


def swarm_labels(plan: Plan, app_id: str | None, incoming: Incoming = "own") -> dict[str, str]:
    """The same for `deploy.labels`; Traefik drops a Swarm service without the port label, which both have."""
    return {
        "traefik.enable": "true",
        "traefik.swarm.network": plan.network,
        **dict(_http_labels(plan, app_id, incoming)),
    }


def compose_fragment(plan: Plan, app_id: str | None, provider: Literal["labels", "file"] = "labels") -> str:
    """YAML to paste over an app's service, named as the host of its upstream; good for compose and for a stack.

    `provider="file"`: the routes come from a file, and Traefik must not make one of its own for the container.
    """
    url = _service(plan, plan.of(app_id)[0]).url
    if provider == "file":
        docker = swarm = {"traefik.enable": "false"}
    else:
        tunnel = dockflare_labels(plan, app_id)  # DockFlare alone reads them; they lead to Traefik, never to the app
        docker, swarm = {**docker_labels(plan, app_id), **tunnel}, {**swarm_labels(plan, app_id), **tunnel}
    service = {"labels": docker, "deploy": {"labels": swarm}, "networks": [plan.network]}
    name = urlsplit(url).hostname
    return as_yaml({"services": {name: service}, "networks": {plan.network: {"external": True}}})


def _http_labels(plan: Plan, app_id: str | None, incoming: Incoming) -> Iterator[tuple[str, str]]:
    routers = plan.of(app_id)
    if any(lane.app_id == app_id for lane in plan.lanes):
        # Seen: Traefik overlooks a label's parentRefs, and the lane would be an open router of its own.
        raise ConfigError(
            [
                f'{app_id}: labels cannot tell tiers apart; set routing.provider to "file" or "http", or take '
                "traffic and the upstreams of single tiers out of apps.json"
            ]
        )
    # Two containers with one middleware name and different values would lose both, so each app has its own.
    own = f"{INCOMING}-{app_id}"
    names = {INCOMING: f"{INCOMING}@file" if incoming == "file" else own}
    used = {name for router in routers for name in router.middlewares}
    middlewares = [
        replace(middleware, name=own) if middleware.name == INCOMING else middleware
        for middleware in plan.middlewares
        if middleware.name in used and not (incoming == "file" and middleware.name == INCOMING)
    ]
    renamed = [
        replace(router, middlewares=tuple(names.get(name, name) for name in router.middlewares)) for router in routers
    ]
    document = document_of(plan, renamed, middlewares, _REFERENCE)
    document["http"]["services"] = _services(plan, routers)
    for key, value in _flattened("traefik", document):
        yield key, value if value == _REFERENCE else value.replace("$", "$$")


def _services(plan: Plan, routers: tuple[Router, ...]) -> Tree:
    """A container's service has a port; where it is, Traefik asks Docker."""
    service = _service(plan, routers[0])
    url = urlsplit(service.url)
    server: Tree = {"port": url.port or _PORTS[url.scheme]}
    if url.scheme != "http":
        server["scheme"] = url.scheme
    return {service.name: {"loadBalancer": {"server": server}}}


def _service(plan: Plan, router: Router) -> Service:
    """Where the router's requests go, or most of them."""
    name = router.service or next(lane.service for lane in plan.lanes if lane.app_id == router.app_id and lane.besides)
    return next(service for service in plan.services if service.name == name)


def _flattened(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flattened(f"{path}.{key}", item)
    elif isinstance(value, list):
        yield path, ",".join(map(str, value))
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)
