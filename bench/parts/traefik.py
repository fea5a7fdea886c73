"""The real Traefik with the routes that `skpay routes` writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import yaml

from parts import people
from parts.processes import Server, free_port, running

_PLUGINS = Path(__file__).parents[2] / "traefik" / "plugins-local"
_PROGRAM = shutil.which("traefik", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
UNGATED, OTHER_GATE = "ungated.example.com", "other.example.com"


@dataclass(frozen=True)
class Routes:
    """The app and the auth server of each host: `gate`, and on the host OTHER_GATE `other_gate`."""

    app: Server
    gate: Server
    other_gate: Server | None = None
    plugin: bool = False


@contextmanager
def traefik_running(core: int, folder: Path, routes: Routes) -> Iterator[Server]:
    """The app at people.HOST, and the same without its gate at UNGATED."""
    assert _PROGRAM is not None, "traefik is not installed: pip install 'skpayments[demo]'"
    dynamic = folder / "traefik" / "dynamic"
    _write_routes(folder, routes)
    generated = dynamic / "skpayments.yml"
    # Not JSON: Traefik expands templates in the text, and JSON's escapes differ from theirs.
    generated.write_text(yaml.safe_dump(_with_peers(yaml.safe_load(generated.read_text()), routes)))
    static = folder / "traefik" / "traefik.yml"
    static.write_text(json.dumps(_on_loopback(yaml.safe_load(static.read_text()), dynamic, port := free_port())))
    (folder / "plugins-local").symlink_to(_PLUGINS)  # Traefik reads it from its working folder
    command, env = [_PROGRAM, f"--configFile={static}"], {"GATE_SECRET": people.GATE_SECRET, "GOMAXPROCS": "1"}
    with running(core, command, port, env, folder) as server:
        _until_routed(port)
        yield server


def _until_routed(port: int) -> None:
    request = Request(f"http://127.0.0.1:{port}/", headers={"Host": UNGATED})
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            urlopen(request, timeout=5).close()  # noqa: S310  # our own address
            return
        except HTTPError:
            time.sleep(0.05)
    raise AssertionError("Traefik has no routes")


def _write_routes(folder: Path, routes: Routes) -> None:
    """`skpay routes write` for the app of the benchmark."""
    routing = {"gate_url": [f"http://127.0.0.1:{routes.gate.port}"], **({"gate": "plugin"} if routes.plugin else {})}
    document = people.apps(f"http://127.0.0.1:{routes.app.port}", routing)
    (folder / "apps.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "gateway", "routes", "write", "--apps", str(folder / "apps.json")]
    command += ["--public-url", people.PUBLIC_URL, "--out", str(folder / "traefik")]
    for more in ([], ["--format", "static"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _with_peers(document: Mapping[str, Any], routes: Routes) -> dict[str, Any]:
    """The generated configuration, and the app's router twice more: without its gate, and with another one."""
    http = deepcopy(document["http"])
    router = http["routers"]["sk-app-skai"]
    chain = router["middlewares"]
    ungated = [name for name in chain if name != "sk-gate-skai"]
    http["routers"]["ungated"] = {**router, "rule": f"Host(`{UNGATED}`)", "middlewares": ungated}
    if routes.other_gate is not None:
        gate = deepcopy(http["middlewares"]["sk-gate-skai"])
        gate["forwardAuth"]["address"] = f"http://127.0.0.1:{routes.other_gate.port}/gate?app=skai"
        http["middlewares"]["other-gate"] = gate
        other = [*ungated, "other-gate"]
        http["routers"]["other"] = {**router, "rule": f"Host(`{OTHER_GATE}`)", "middlewares": other}
    return {"http": http}


def _on_loopback(static: dict[str, Any], dynamic: Path, port: int) -> dict[str, Any]:
    """The recommended static configuration, on other ports and without Docker."""
    static["entryPoints"]["web"]["address"] = f"127.0.0.1:{port}"
    static["entryPoints"]["ops"]["address"] = f"127.0.0.1:{free_port()}"
    static["providers"] = {"file": {"directory": str(dynamic)}}
    static["log"]["level"] = "ERROR"
    return static
