"""The part of `docker` that SOP.md uses, without an engine: each container is a process with that container's paths.

Paths of a container are mapped to the host's by its mounts, addresses of services to ports of ours. What is ours runs:
SKPayments, the real Traefik, LiteLLM's script. The vendors are the sandboxes, and Open WebUI is a stand-in.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import jwt
import yaml
from aiohttp import web
from servers.compose_project import ComposeProject, Container
from servers.traefik import Traefik, free_port, until

from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.stripe import StripeSandbox

START_SECONDS = 60.0


class ComposeEngine:
    """Answers docker_shim.py on `socket_path`. `calls` are the docker commands that it received."""

    def __init__(self, folder: Path, stripe: StripeSandbox) -> None:
        self.folder = folder
        self.stripe = stripe
        self.calls: list[list[str]] = []
        self.socket_path = folder / "docker.sock"
        self.ports: dict[str, int] = {}
        self.litellm: LiteLLMSandbox | None = None
        self.traefik: Traefik | None = None
        self.project: ComposeProject | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> ComposeEngine:
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        shim = bin_folder / "docker"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("docker_shim.py")} "$@"\n')
        shim.chmod(0o755)
        server = await asyncio.start_unix_server(self._answer_request, self.socket_path)
        self._stack.push_async_callback(server.wait_closed)
        self._stack.callback(server.close)
        self.ports["stripe"] = await self._serve(self.stripe.application())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def environment(self) -> dict[str, str]:
        """A shell's, in which `docker` is this."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {"PATH": path, "HOME": str(self.folder), "DOCKER_SHIM_SOCKET": str(self.socket_path), "TERM": "dumb"}

    async def _answer_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        self.calls.append(request["words"])
        try:
            reply = await self._docker(request["words"], Path(request["folder"]))
        except AssertionError as exc:
            reply = {"say": f"{exc}\n", "code": 1}
        writer.write(json.dumps(reply).encode() + b"\n")
        await writer.drain()
        writer.close()

    async def _docker(self, words: list[str], folder: Path) -> dict[str, Any]:
        if words[0] == "run":
            return self._run_image(words[1:])
        assert words[0] == "compose", f"docker {words[0]}: not simulated"
        self.project = ComposeProject(folder)
        match words[1:]:
            case ["up", "-d", *names]:
                await self._up(names or self.project.names())
                return {"say": "", "code": 0}
            case ["exec", name, *command]:
                assert name in self.ports, f'service "{name}" is not running'
                return self._in_container(self.project.container(name), command)
            case ["run", "--rm", name, *command]:
                return self._in_container(self.project.container(name), command)
        raise AssertionError(f"docker {' '.join(words)}: not simulated")

    def _run_image(self, words: list[str]) -> dict[str, Any]:
        """`docker run` with one mount and a folder in it."""
        options: dict[str, str] = {}
        while words[0].startswith("-"):
            word = words.pop(0)
            if word not in ("--rm", "-it"):
                options[word] = words.pop(0)
        assert set(options) == {"--user", "-v", "-w"}, options
        assert options["--user"] == f"{os.getuid()}:{os.getgid()}"
        source, _, target = options["-v"].partition(":")
        assert words.pop(0) == "ghcr.io/open-webui/open-webui:0.12.4-slim"
        folder = Path(source) / PurePosixPath(options["-w"]).relative_to(target)
        return {"run": [_python(words[0]), *words[1:]], "folder": str(folder), "environment": {"TERM": "dumb"}}

    def _in_container(self, container: Container, command: list[str]) -> dict[str, Any]:
        environment = self._mapped_environment(container)
        words = [self._mapped(container, word) if word.startswith("/") else word for word in command[1:]]
        folder = self._mapped(container, "/skpayments") if container.name == "skpayments" else str(self.folder)
        return {"run": [_python(command[0]), *words], "folder": folder, "environment": environment}

    async def _up(self, names: list[str]) -> None:
        assert self.project is not None
        for name in names:
            for needed in self.project.document["services"][name].get("depends_on", []):
                await self._up([needed])
        start = {
            "postgres": self._start_postgres, "litellm": self._start_litellm, "open-webui": self._start_open_webui,
            "skpayments": self._start_skpayments, "traefik": self._start_traefik,
        }  # fmt: skip
        for name in sorted(names, key=list(start).index):
            if name not in self.ports:
                await start[name](self.project.container(name))

    async def _start_postgres(self, container: Container) -> None:
        assert container.mount_of("/var/lib/postgresql/data").source is None
        self.ports["postgres"] = 5432

    async def _start_litellm(self, container: Container) -> None:
        """A sandbox that believes this container's environment and configuration."""
        assert container.command[0] == "--config"
        config = yaml.safe_load(container.host_path(container.command[1]).read_text(encoding="utf-8"))
        for named in re.findall(r"os\.environ/(\w+)", json.dumps(config)):
            assert container.environment[named], f"litellm: {named} is empty"
        (mapping,) = config["general_settings"]["user_header_mappings"]
        assert mapping["header_name"] == "X-OpenWebUI-User-Id"
        self.litellm = LiteLLMSandbox(
            container.environment["LITELLM_MASTER_KEY"],
            header_role=mapping["litellm_user_role"],
            default_budget_id=config["litellm_settings"]["max_end_user_budget_id"],
            prices={model["model_name"]: 0.0001 for model in config["model_list"]},
        )
        self.ports["litellm"] = await self._serve(self.litellm.application())

    async def _start_open_webui(self, container: Container) -> None:
        """Open WebUI as the gate meets it: it resolves sessions, and echoes the headers of all other requests."""

        secret = container.environment["WEBUI_SECRET_KEY"]

        async def answer(request: web.Request) -> web.Response:
            if request.path == "/api/v1/auths/":
                try:
                    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
                    user_id = jwt.decode(token, secret, algorithms=["HS256"])["id"]
                except jwt.InvalidTokenError:
                    return web.json_response({"detail": "401 Unauthorized"}, status=401)
                return web.json_response(
                    {"id": user_id, "email": "", "name": "", "role": "admin" if user_id == "admin" else "user"}
                )
            return web.json_response([[name, value] for name, value in request.headers.items()])

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        self.ports["open-webui"] = await self._serve(app)

    async def _start_skpayments(self, container: Container) -> None:
        """Its very command, with its very environment."""
        for name in ("PORT", "GATE_PORT"):
            self.ports[name] = free_port()
        environment = self._mapped_environment(container)
        log_path = self.folder / "skpayments.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                _python(container.command[0]), *container.command[1:], env=environment, stdout=log, stderr=log,
                cwd=self._mapped(container, "/skpayments"), stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        self._stack.push_async_callback(_stop, process)
        self.ports["skpayments"] = self.ports["PORT"]

        async def ready() -> bool:
            assert process.returncode is None, f"skpayments has ended:\n{log_path.read_text()}"
            try:
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"http://127.0.0.1:{self.ports['PORT']}/ready") as answer,
                ):
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await until(ready, "skpayments is ready", START_SECONDS)

    async def _start_traefik(self, container: Container) -> None:
        """The real one, with the generated configuration; only ports and addresses are the test's own."""
        static = yaml.safe_load(container.host_path("/etc/traefik/traefik.yml").read_text(encoding="utf-8"))
        directory = static["providers"]["file"].pop("directory")
        dynamic = self._mapped_routes(container, directory)
        assert static["entryPoints"]["web"].pop("address") == ":80"
        static["entryPoints"]["ops"]["address"] = f"127.0.0.1:{free_port()}"
        static["ping"] = {"entryPoint": "traefik"}
        self.traefik = await self._stack.enter_async_context(Traefik(static, dynamic, container.environment))
        self.ports["traefik"] = int(self.traefik.url.rpartition(":")[2])

    def _mapped_routes(self, container: Container, directory: str) -> Path:
        dynamic = Path(shutil.copytree(container.host_path(directory), self.folder / "dynamic"))
        for file in dynamic.glob("*.yml"):
            text = file.read_text(encoding="utf-8")
            file.write_text(self._with_ports(container, text), encoding="utf-8")
        return dynamic

    def _mapped_environment(self, container: Container) -> dict[str, str]:
        """With the host's paths and our ports; the vendors are the sandboxes."""
        values = {
            name: self._with_ports(container, self._mapped(container, value))
            for name, value in container.environment.items()
        }
        values.update(TERM="dumb", HOST="127.0.0.1", STRIPE_API_BASE=f"http://127.0.0.1:{self.ports['stripe']}")
        if container.name == "skpayments":
            values["PYTHONPATH"] = str(container.host_path("/opt/skpayments/gateway").parent)
            values["APPS_FILE"] = self._mapped_apps(container)
            values.update({name: str(self.ports.get(name, 0)) for name in ("PORT", "GATE_PORT")})
            if "PORT" not in self.ports:
                values.update(PORT="8080", GATE_PORT="8081")
        if container.name == "litellm":
            values["PORT"] = str(self.ports["litellm"])
        return values

    def _mapped_apps(self, container: Container) -> str:
        text = container.host_path(container.environment["APPS_FILE"]).read_text(encoding="utf-8")
        mapped = self.folder / "apps.json"
        text = re.sub(r'(?<="file:)/[^"]*', lambda found: self._mapped(container, found[0]), text)
        mapped.write_text(self._with_ports(container, text), encoding="utf-8")
        return str(mapped)

    def _mapped(self, container: Container, value: str) -> str:
        """Paths of the container as the host's; those in a volume are in a folder of ours."""
        if value.startswith("sqlite:///"):
            path = value.removeprefix("sqlite:///")
            assert container.mount_of(path).source is None
            assert container.writable(path)
            return f"sqlite:///{self._volume(container)}/{PurePosixPath(path).name}"
        if not value.startswith("/") or value == "/opt/skpayments":
            return value
        return str(container.host_path(value))

    def _volume(self, container: Container) -> Path:
        path = self.folder / "volumes" / container.name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _with_ports(self, container: Container, text: str) -> str:
        """Addresses of services as ours; each service named must be on one of the container's networks."""
        assert self.project is not None
        for name, port in self.project.peers_of(container, text):
            key = {8080: "PORT", 8081: "GATE_PORT"}[port] if name == "skpayments" else name
            text = re.sub(rf"(?<=//){name}:{port}\b", f"127.0.0.1:{self.ports.get(key, 9)}", text)
        return text

    async def _serve(self, app: web.Application) -> int:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])


def _python(name: str) -> str:
    assert name in ("python", "python3"), name
    return sys.executable


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()
