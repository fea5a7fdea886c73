"""docker-compose.yml is good for compose and for a Swarm, says what `skpay routes` says, and holds no secret."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.fake_docker_engine import Container, FakeDockerEngine
from servers.found import require
from servers.traefik import Traefik

from gateway.app.catalog_file import CatalogFile
from gateway.catalog import parse
from gateway.errors import ConfigError
from gateway.routing import Plan, docker_labels, dockflare_labels, plan, swarm_labels
from gateway.settings import read_settings

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker-compose.yml"
SECRETS = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "GATE_SECRET", "ADMIN_TOKEN", "LITELLM_KEY")
_REFERENCE = re.compile(r"\$\{([A-Z_]+):-([^}]*)\}")


def _compose(**environment: str) -> Any:
    """The file as compose reads it in this environment: every `${NAME:-default}` replaced, in values only."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: read(item) for key, item in value.items()}
        if isinstance(value, list):
            return [read(item) for item in value]
        if isinstance(value, str):
            value = _REFERENCE.sub(lambda found: environment.get(found[1]) or found[2], value)
            assert "$" not in value
        return value

    return read(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def _service(**environment: str) -> Any:
    return _compose(**environment)["services"]["skpayments"]


def _planned(public_url: str) -> Plan:
    return plan(parse((ROOT / "apps.json").read_bytes(), "apps.json"), public_url)


def test_docker_stack_takes_it() -> None:
    """T7, T8: no engine is needed. Nothing in the environment, as where `docker stack` ignores .env."""
    docker = require("docker")
    done = subprocess.run(
        [docker, "stack", "config", "-c", FILE], env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    read = yaml.safe_load(done.stdout)
    mine = _compose()
    assert list(read["services"]) == ["skpayments"]
    for key in ("image", "command", "working_dir", "environment", "labels", "deploy"):
        assert read["services"]["skpayments"][key] == mine["services"]["skpayments"][key], key
    assert read["services"]["skpayments"]["volumes"][0] == {
        "type": "bind", "source": str(ROOT), "target": "/skpayments", "read_only": True,
    }  # fmt: skip


@pytest.mark.parametrize("host", ["pay.example.com", "pay.some.other.org"])
def test_the_labels_are_the_generated_ones(host: str) -> None:
    """T44: our own router's only; each app's are on the app's container."""
    routes = _planned(f"https://{host}")
    service = _service(PUBLIC_HOST="" if host == "pay.example.com" else host)
    assert service["labels"] == {**docker_labels(routes, None), **dockflare_labels(routes, None)}
    assert service["deploy"]["labels"] == {**swarm_labels(routes, None), **dockflare_labels(routes, None)}
    assert service["environment"]["PUBLIC_URL"] == f"https://{host}"


@pytest.mark.needs_traefik
@pytest.mark.parametrize("provider", ["docker", "swarm"])
async def test_the_real_traefik_takes_the_labels(provider: str) -> None:
    """Seen with 3.7.15: it overlooks DockFlare's, and skips a service that names a docker and a swarm network."""
    container = Container("skpayments", _service()["labels"])
    service = Container("skpayments", _service()["deploy"]["labels"])
    async with FakeDockerEngine([container] if provider == "docker" else [], services=[service]) as engine:
        static = {"providers": {provider: {"endpoint": engine.endpoint, "exposedByDefault": False}}}
        async with Traefik(static) as traefik:
            routers = await traefik.until_routers(f"sk-public@{provider}")
            assert await traefik.errors() == 0
            assert {name: router["rule"] for name, router in routers.items()} == {
                f"sk-public@{provider}": "Host(`pay.example.com`)"
            }
            assert " ERR " not in traefik.log()


def test_t8_nothing_that_docker_stack_refuses() -> None:
    compose = _compose()
    service = compose["services"]["skpayments"]
    assert not {"name", "version", "include"} & set(compose)
    assert not {"depends_on", "env_file", "container_name", "build", "restart", "profiles"} & set(service)
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    assert compose["networks"] == {"proxy": {"external": True}}
    assert service["networks"] == ["proxy"]


def test_one_instance_and_the_old_one_stops_first() -> None:
    deploy = _service()["deploy"]
    assert (deploy["replicas"], deploy["update_config"]) == (1, {"order": "stop-first"})


def test_no_port_is_published_and_the_images_own_healthcheck_is_satisfied() -> None:
    """The image's HEALTHCHECK asks port $PORT, 8080 if unset, for /health."""
    service = _service()
    assert not {"ports", "expose", "healthcheck"} & set(service)
    assert (service["environment"]["PORT"], service["environment"]["GATE_PORT"]) == ("8080", "8081")


def test_t7_only_folders_are_mounted() -> None:
    assert _service()["volumes"] == [".:/skpayments:ro", "./traefik:/skpayments/traefik", "data:/data"]
    assert _compose()["volumes"] == {"data": {}}
    assert _service()["working_dir"] == "/skpayments"
    assert _service()["environment"]["DATABASE_URL"] == "sqlite:////data/skpayments.db"


def test_the_image_is_the_one_whose_packages_we_compare_with() -> None:
    assert _service()["image"] == "ghcr.io/open-webui/open-webui:0.12.4-slim"
    assert (ROOT / "tests/data/open-webui-0.12.4-slim.txt").is_file()
    assert _service(OPEN_WEBUI_TAG="0.13.0-slim")["image"].endswith(":0.13.0-slim")


def test_it_holds_no_secret() -> None:
    """T41: every secret is a file that the container is given, or comes from the environment, with no default."""
    compose, service = _compose(), _service()
    assert set(service["secrets"]) == set(compose["secrets"]) == {name.lower() for name in SECRETS}
    for name in SECRETS:
        assert name not in service["environment"]
        assert service["environment"][f"{name}_FILE"] == f"/run/secrets/{name.lower()}"
        assert compose["secrets"][name.lower()] == {"file": f"./secrets/{name.lower()}"}
    known = {"GATE_SECRET", "LITELLM_URL", "PUBLIC_URL", *SECRETS}
    named = [str(ref) for _, ref in parse((ROOT / "apps.json").read_bytes(), "apps.json").secret_refs()]
    for name in (ref.removeprefix("env:") for ref in named):
        assert name not in known
        assert service["environment"][name] == ""
    assert "GATE_SECRET" not in str(service["labels"])
    assert not re.search(r"\b(sk|rk|pk)_(test|live)_|whsec_|eyJ", FILE.read_text(encoding="utf-8"))


@pytest.fixture
def mounted(tmp_path: Path) -> dict[str, str]:
    """The service's environment with its secrets mounted in a folder of ours, and the keys that apps.json names."""
    for name in SECRETS:
        prefix = {"STRIPE_SECRET_KEY": "sk_test_", "STRIPE_WEBHOOK_SECRET": "whsec_"}.get(name, "")
        (tmp_path / name.lower()).write_text(f"{prefix}{hashlib.sha256(name.encode()).hexdigest()}\n")
    keys = {"SKAI_API_KEY": "k" * 32, "WEBUI_SECRET_KEY": "w" * 32, "LITELLM_SHARED_KEY": "sk-" + "s" * 32}
    return {
        key: str(value).replace("/run/secrets", str(tmp_path)).replace("/skpayments/", f"{ROOT}/")
        for key, value in {**_service()["environment"], **keys}.items()
    }


def test_the_service_starts_with_this_environment(mounted: dict[str, str]) -> None:
    settings = read_settings(mounted)
    assert (settings.public_url, settings.port, settings.gate_port) == ("https://pay.example.com", 8080, 8081)
    catalog, secrets = CatalogFile(settings, mounted).read()
    assert set(catalog.apps) == {"skai"}
    assert len(secrets) == 3


@pytest.mark.parametrize("name", SECRETS)
def test_an_empty_secret_fails_closed(mounted: dict[str, str], name: str) -> None:
    """T8, T41: where the secret is missing, nothing starts that could let somebody in."""
    Path(mounted[f"{name}_FILE"]).write_text("\n")
    with pytest.raises(ConfigError) as caught:
        read_settings(mounted)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [name]


@pytest.mark.parametrize("name", ["SKAI_API_KEY", "WEBUI_SECRET_KEY", "LITELLM_SHARED_KEY"])
def test_a_key_that_docker_stack_did_not_find_in_env_fails_closed(mounted: dict[str, str], name: str) -> None:
    mounted[name] = _service()["environment"][name]
    with pytest.raises(ConfigError, match=f"env:{name} is empty"):
        CatalogFile(read_settings(mounted), mounted).read()


def test_the_command_runs_from_the_folder_where_the_package_is_not_installed() -> None:
    """The image has every library, and no `gateway`: a path entry shows the libraries without our own installation."""
    service = _service()
    done = subprocess.run(
        [sys._base_executable, *service["command"][1:], "--help"],  # type: ignore[attr-defined]  # not in typeshed
        cwd=ROOT,
        env={"PYTHONPATH": sysconfig.get_path("purelib"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert service["command"][0] == "python"
    assert (done.returncode, done.stderr) == (0, "")
    assert "Serve until SIGTERM" in done.stdout
