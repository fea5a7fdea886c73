"""As much of a Docker Engine as Traefik's docker and swarm providers ask for; checked with 3.7.15.

async with FakeDockerEngine([Container("blog", labels)]) as engine:
    Traefik({"providers": {"docker": {"endpoint": engine.endpoint}}})
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from aiohttp import web

_AT = "2026-01-01T00:00:00Z"
_NETWORK_ID = "net1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Container:
    """A container on the engine's network, or a service with one task, reached at `address`."""

    name: str
    labels: Mapping[str, str]
    address: str = "127.0.0.1"


class FakeDockerEngine:
    """The docker provider sees `containers`, the swarm provider `services` (their labels are `deploy.labels`)."""

    def __init__(
        self,
        containers: Sequence[Container] = (),
        services: Sequence[Container] = (),
        network: str = "proxy",
        port: int = 0,
    ) -> None:
        self.containers = {f"{number:064x}": container for number, container in enumerate(containers, 1)}
        self.services = {f"service{number}": service for number, service in enumerate(services, 1)}
        self.network = network
        self.port = port
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeDockerEngine:
        app = web.Application()
        plain: dict[str, Callable[[], Any]] = {
            "/version": self._version,
            "/info": self._info,
            "/containers/json": self._listed,
            "/services": self._services,
            "/tasks": self._tasks,
            "/networks": self._networks,
            "/nodes": list,
        }
        for prefix in ("", "/v{version:[0-9.]+}"):
            app.router.add_route("*", f"{prefix}/_ping", _ping)
            app.router.add_get(f"{prefix}/events", self._events)
            app.router.add_get(f"{prefix}/containers/{{id}}/json", self._inspected)
            app.router.add_get(f"{prefix}/nodes/{{id}}", _node)
            for path, answer in plain.items():
                app.router.add_get(prefix + path, _json(answer))
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def _on_network(self, address: str) -> dict[str, Any]:
        return {self.network: {"IPAddress": address, "NetworkID": _NETWORK_ID}}

    def _version(self) -> dict[str, str]:
        return {"Version": "27.0", "ApiVersion": "1.47", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}

    def _info(self) -> dict[str, Any]:
        return {"Swarm": {"NodeID": "node1", "LocalNodeState": "active", "ControlAvailable": True}}

    def _listed(self) -> list[dict[str, Any]]:
        return [
            {
                "Id": container_id,
                "Names": [f"/{container.name}"],
                "Image": "image",
                "State": "running",
                "Status": "Up",
                "Labels": dict(container.labels),
                "NetworkSettings": {"Networks": self._on_network(container.address)},
            }
            for container_id, container in self.containers.items()
        ]

    async def _inspected(self, request: web.Request) -> web.Response:
        container_id = request.match_info["id"]
        container = self.containers[container_id]
        return web.json_response(
            {
                "Id": container_id,
                "Name": f"/{container.name}",
                "Created": _AT,
                "State": {"Status": "running", "Running": True},
                "HostConfig": {"NetworkMode": self.network, "PortBindings": {}},
                "Config": {"Labels": dict(container.labels), "Env": []},
                "NetworkSettings": {"Ports": {}, "Networks": self._on_network(container.address)},
            }
        )

    def _services(self) -> list[dict[str, Any]]:
        return [
            {
                "ID": service_id,
                "Version": {"Index": 1},
                "CreatedAt": _AT,
                "UpdatedAt": _AT,
                "Spec": {
                    "Name": f"stack_{service.name}",
                    "Labels": dict(service.labels),
                    "TaskTemplate": {"ContainerSpec": {"Image": "image"}},
                    "Mode": {"Replicated": {"Replicas": 1}},
                    "EndpointSpec": {"Mode": "dnsrr"},
                },
                "Endpoint": {"Spec": {"Mode": "dnsrr"}},
            }
            for service_id, service in self.services.items()
        ]

    def _tasks(self) -> list[dict[str, Any]]:
        network = {"ID": _NETWORK_ID, "Spec": {"Name": self.network}, "DriverState": {"Name": "overlay"}}
        return [
            {
                "ID": f"task-{service_id}",
                "Version": {"Index": 1},
                "CreatedAt": _AT,
                "UpdatedAt": _AT,
                "ServiceID": service_id,
                "NodeID": "node1",
                "Slot": 1,
                "Spec": {"ContainerSpec": {"Image": "image"}},
                "Status": {"State": "running", "ContainerStatus": {"ContainerID": "c1", "PID": 1}},
                "DesiredState": "running",
                "NetworksAttachments": [{"Network": network, "Addresses": [f"{service.address}/24"]}],
            }
            for service_id, service in self.services.items()
        ]

    def _networks(self) -> list[dict[str, str]]:
        return [{"Name": self.network, "Id": _NETWORK_ID, "Scope": "swarm", "Driver": "overlay"}]

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """A stream in which nothing happens, until the engine is closed."""
        response = web.StreamResponse()
        await response.prepare(request)
        await self._closing.wait()
        return response


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="OK", headers={"API-Version": "1.47", "Docker-Experimental": "false", "Ostype": "linux"})


async def _node(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "ID": request.match_info["id"],
            "Version": {"Index": 1},
            "CreatedAt": _AT,
            "UpdatedAt": _AT,
            "Spec": {"Role": "manager", "Availability": "active"},
            "Description": {"Hostname": "host"},
            "Status": {"State": "ready", "Addr": "127.0.0.1"},
        }
    )


def _json(answer: Callable[[], Any]) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(answer())

    return handle
