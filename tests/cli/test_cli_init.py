"""`skpay init`: what it asks, what it writes, what it never touches, and that a folder of it starts."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.compose_project import ComposeProject
from servers.found import require

from gateway.app.catalog_file import CatalogFile
from gateway.catalog import parse
from gateway.settings import read_settings

STRIPE_KEY = "sk_test_0123456789abcdef0123456789abcdef"
VARIANTS = {
    "everything here": ("--host", "chat.acme.org"),
    "certificates": ("--host", "chat.acme.org", "--acme-email", "ops@acme.org"),
    "my own LiteLLM": ("--host", "chat.acme.org", "--litellm", "https://llm.acme.org"),
    "no LiteLLM": ("--host", "chat.acme.org", "--litellm", "none"),
    "another app": ("--app", "My Blog", "--host", "blog.acme.org", "--identity", '{"kind": "user_key"}'),
    "LiteLLM's users": ("--app", "llm", "--host", "llm.acme.org", "--identity", '{"kind": "litellm_key"}'),
}


def init(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """In a pipe, as in a script, with a umask that shows whether modes are left to chance."""
    env = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "init", str(folder), *words],
        env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, umask=0o000,
    )  # fmt: skip


_MADE: dict[tuple[str, ...], tempfile.TemporaryDirectory[str]] = {}


def made(folder: Path, *words: str) -> ComposeProject:
    """A folder of init; the same words again give a copy."""
    if words not in _MADE:
        _MADE[words] = tempfile.TemporaryDirectory()
        done = init(Path(_MADE[words].name) / "live", *words, STRIPE_SECRET_KEY=STRIPE_KEY)
        assert (done.returncode, done.stderr) == (0, "")
    shutil.copytree(Path(_MADE[words].name) / "live", folder)
    if "https://llm.acme.org" in words:  # what the operator of a LiteLLM pastes
        assert (folder / "secrets/litellm_key").read_text() == ""
        (folder / "secrets/litellm_key").write_text("sk-0123456789abcdef0123456789abcdef\n")
        (folder / "secrets/litellm_shared_key").write_text("sk-shared0123456789abcdef\n")
        text = (folder / ".env").read_text()
        assert text.endswith("\nLITELLM_SHARED_KEY=\n")
        (folder / ".env").write_text(f"{text.rstrip()}sk-shared0123456789abcdef\n")
    return ComposeProject(folder)


@pytest.mark.parametrize("words", VARIANTS.values(), ids=VARIANTS)
def test_what_init_wrote_passes_check_in_the_container(tmp_path: Path, words: tuple[str, ...]) -> None:
    """With its own environment, and its secrets and apps.json read through its own mounts."""
    project = made(tmp_path / "live", *words)
    (project.folder / "secrets/stripe_webhook_secret").write_text("whsec_0123456789abcdef0123456789abcdef\n")
    environ = environment_on_host(project)
    settings = read_settings(environ)
    catalog, secrets = CatalogFile(settings, environ).read()
    (app,) = catalog.apps.values()
    assert settings.public_url == "https://pay.acme.org"
    assert app.hosts == (words[words.index("--host") + 1],)
    assert len(secrets) == len(catalog.secret_refs())
    assert (app.litellm is None) == ("none" in words)


def environment_on_host(project: ComposeProject) -> dict[str, str]:
    """SKPayments' environment with its paths as the host has them, and an apps.json whose secrets' paths are, too."""
    container = project.container("skpayments")
    apps = json.loads(container.host_path(container.environment["APPS_FILE"]).read_text(encoding="utf-8"))
    mapped = project.folder.parent / "apps.json"
    text = re.sub(r'(?<="file:)(/[^"]*)', lambda found: str(container.host_path(found[1])), json.dumps(apps))
    mapped.write_text(text, encoding="utf-8")
    environ = {
        name: str(container.host_path(value)) if name.endswith("_FILE") and name != "APPS_FILE" else value
        for name, value in container.environment.items()
    }
    return {**environ, "APPS_FILE": str(mapped)}


@pytest.mark.parametrize("words", VARIANTS.values(), ids=VARIANTS)
def test_docker_takes_the_compose_file(tmp_path: Path, words: tuple[str, ...]) -> None:
    """No engine is needed for this; `docker stack config` is in the client, compose is a plugin of it."""
    docker = require("docker")
    project = made(tmp_path / "live", *words)
    done = subprocess.run(
        [docker, "stack", "config", "-c", "docker-compose.yml"],
        cwd=tmp_path / "live", env={"PATH": os.environ["PATH"], **project.variables}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(yaml.safe_load(done.stdout)["services"]) == set(project.document["services"])
    if subprocess.run([docker, "compose", "version"], capture_output=True, timeout=60).returncode == 0:
        done = subprocess.run([docker, "compose", "config", "--quiet"], cwd=tmp_path / "live", capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")


def test_it_sets_up_everything_as_an_operator_runs_it(tmp_path: Path) -> None:
    project = made(tmp_path / "live", *VARIANTS["everything here"])
    assert set(project.names()) == {"traefik", "skpayments", "open-webui", "litellm", "postgres"}
    containers = {name: project.container(name) for name in project.names()}
    assert {name: each.ports for name, each in containers.items() if each.ports} == {"traefik": ("80:80",)}
    assert not containers["postgres"].networks & containers["traefik"].networks
    assert not containers["litellm"].networks & containers["traefik"].networks
    assert containers["traefik"].environment["GATE_SECRET"] == read(project, "secrets/gate_secret")
    assert containers["open-webui"].environment["WEBUI_SECRET_KEY"] == read(project, "secrets/webui_secret_key")
    assert containers["open-webui"].environment["OPENAI_API_KEYS"] == read(project, "secrets/litellm_shared_key")
    assert containers["litellm"].environment["SKPAYMENTS_KEY"] == read(project, "secrets/litellm_key")
    database = containers["litellm"].environment["DATABASE_URL"]
    postgres = containers["postgres"].environment
    assert database == f"postgresql://litellm:{postgres['POSTGRES_PASSWORD']}@postgres:5432/{postgres['POSTGRES_DB']}"
    for container in containers.values():
        project.peers_of(container, json.dumps(container.environment))
    assert containers["skpayments"].writable("/skpayments/traefik/dynamic/skpayments.yml")
    assert not containers["skpayments"].writable("/skpayments/apps.json")
    assert containers["skpayments"].host_path("/skpayments/.env") == Path("/dev/null")


def read(project: ComposeProject, place: str) -> str:
    return (project.folder / place).read_text(encoding="utf-8").rstrip("\n")


def test_the_models_are_the_same_in_litellm_open_webui_and_apps_json(tmp_path: Path) -> None:
    project = made(tmp_path / "live", *VARIANTS["everything here"])
    config = yaml.safe_load(read(project, "litellm/config.yaml"))
    names = {model["model_name"] for model in config["model_list"]}
    open_webui = project.container("open-webui").environment
    needed = {open_webui[name] for name in ("RAG_EMBEDDING_MODEL", "AUDIO_TTS_MODEL", "AUDIO_STT_MODEL")}
    app = parse(read(project, "apps.json").encode()).apps["skai"]
    free = set(app.tiers[0].limits.models or ())
    assert needed < free < names
    assert open_webui["IMAGE_GENERATION_MODEL"] in names - free
    assert int(open_webui["RAG_EMBEDDING_BATCH_SIZE"]) >= 30
    assert config["general_settings"]["user_header_mappings"] == [
        {"header_name": "X-OpenWebUI-User-Id", "litellm_user_role": "customer"}
    ]
    assert config["litellm_settings"]["max_end_user_budget_id"] == "skai.free"
    assert open_webui["ENABLE_FORWARD_USER_INFO_HEADERS"] == "true"
    (banner,) = json.loads(open_webui["WEBUI_BANNERS"])
    assert "](/.skpayments/upgrade)" in banner["content"]


def test_secrets_are_for_their_owner_only_and_new_each_time(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        folder = tmp_path / name
        assert init(folder, *VARIANTS["everything here"], STRIPE_SECRET_KEY=STRIPE_KEY).returncode == 0
        project = ComposeProject(folder)
        assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
        private = [folder / ".env", *(folder / "secrets").iterdir()]
        assert len(private) == 9
        assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
        values = {read(project, f"secrets/{path.name}") for path in private[1:]}
        values |= {value for key, value in project.variables.items() if key.endswith(("KEY", "SECRET", "PASSWORD"))}
        for path in folder.rglob("*"):
            if path.is_file() and path not in private:
                assert stat.S_IMODE(path.stat().st_mode) == 0o644, path
                text = path.read_text(encoding="utf-8")
                assert [value for value in values if value and value in text] == [], path
        texts.append(values - {"", STRIPE_KEY})
    assert len(texts[0]) == 9
    assert texts[0] & texts[1] == set()
    assert all(len(value) >= 43 for value in texts[0])


@pytest.mark.parametrize("standing", ["apps.json", ".env", "secrets/admin_token", "traefik/traefik.yml"])
def test_nothing_is_overwritten_and_nothing_else_written(tmp_path: Path, standing: str) -> None:
    path = tmp_path / standing
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = init(tmp_path, *VARIANTS["everything here"])
    assert done.returncode == 2
    assert done.stderr == f"error: {path}: exists, and init overwrites nothing; name another folder\n"
    assert path.read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_write_that_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    """A file stands where a folder is needed."""
    (tmp_path / "litellm").write_text("mine")
    done = init(tmp_path, *VARIANTS["everything here"])
    assert done.returncode == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["litellm"]


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ((), "error: --host: not given, and there is no terminal to ask on; give --host chat.example.com"),
        (("--host", "https://chat.acme.org"), '--host: expected a host name without scheme, got "https:'),
        (("--host", "chat acme"), "--host: expected a host name, such as"),
        (("--host", "chat.acme.org", "--pay-host", "pay.acme.org:443"), "--pay-host: expected a host name without"),
        (("--host", "chat.acme.org", "--app", "!"), "error: --app: expected a name with a letter a-z or a digit"),
        (("--host", "chat.acme.org", "--app", "a" * 64), "apps.json: apps[0].id: "),
        (("--host", "chat.acme.org", "--identity", "saml"), "error: --identity: expected openwebui or an entry"),
        (("--host", "chat.acme.org", "--identity", "saml"), '{"kind": "user_key"}\', got "saml"'),
        (("--host", "chat.acme.org", "--identity", "{kind: jwt}"), "got text that is not JSON"),
        (("--host", "chat.acme.org", "--identity", '{"kind": "saml"}'), "apps.json: apps[0].identity[0].kind: "),
        (("--host", "chat.acme.org", "--litellm", "localhost"), "error: --litellm: expected here, none or a URL"),
        (("--host", "chat.acme.org", "--acme-email", 'ops"@acme'), "error: --acme-email: expected an e-mail address"),
        (("--host", "chat.acme.org", "--pay-host", "chat.acme.org"), "chat.acme.org"),
    ],
)
def test_a_wrong_answer_is_reported_and_nothing_is_written(tmp_path: Path, words: tuple[str, ...], result: str) -> None:
    done = init(tmp_path / "live", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert result in done.stderr
    assert not (tmp_path / "live").exists()


@pytest.mark.parametrize("key", ["pk_test_0123456789abcdef", "whsec_0123456789abcdef"])
def test_another_key_in_the_place_of_stripes_is_refused(tmp_path: Path, key: str) -> None:
    done = init(tmp_path / "live", "--host", "chat.acme.org", STRIPE_SECRET_KEY=key)
    assert done.returncode == 2
    assert "STRIPE_SECRET_KEY" in done.stderr
    assert key not in done.stderr
    assert not (tmp_path / "live").exists()


def test_it_says_what_to_type_next(tmp_path: Path) -> None:
    done = init(tmp_path / "live", "--host", "chat.acme.org")
    for line in (
        f"  cd {tmp_path / 'live'}\n",
        "cat > secrets/stripe_secret_key ",
        "skai_pro_month",
        "https://pay.acme.org/webhook/stripe",
        "cat > secrets/stripe_webhook_secret ",
        "docker compose exec litellm python3 /etc/litellm/keys.py\n",
        "docker compose up -d\n",
    ):
        assert line in done.stdout
    given = init(tmp_path / "other", "--host", "chat.acme.org", STRIPE_SECRET_KEY=STRIPE_KEY)
    assert "cat > secrets/stripe_secret_key" not in given.stdout
    assert STRIPE_KEY not in given.stdout


def test_routes_check_is_content_in_the_new_folder(tmp_path: Path) -> None:
    project = made(tmp_path / "live", *VARIANTS["everything here"])
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "routes", "check"], cwd=project.folder, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "PUBLIC_URL": "https://pay.acme.org"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_certificates_are_requested_with_the_operators_address(tmp_path: Path) -> None:
    project = made(tmp_path / "live", *VARIANTS["certificates"])
    static: Any = yaml.safe_load(read(project, "traefik/traefik.yml"))
    acme = static["certificatesResolvers"]["letsencrypt"]["acme"]
    assert (acme["email"], acme["storage"]) == ("ops@acme.org", "/acme/acme.json")
    traefik = project.container("traefik")
    assert traefik.ports == ("443:443",)
    assert traefik.mount_of(acme["storage"]).source is None
    assert static["entryPoints"]["websecure"]["address"] == ":443"


def test_traefik_needs_no_engines_socket(tmp_path: Path) -> None:
    project = made(tmp_path / "live", *VARIANTS["everything here"])
    assert set(yaml.safe_load(read(project, "traefik/traefik.yml"))["providers"]) == {"file"}


def test_a_wrong_answer_on_a_terminal_repeats_the_question(tmp_path: Path) -> None:
    host, stripe = "as chat.example.com: ", "add it later): "
    typed = [
        ("[SKAI]: ", "SKAI"),
        (host, "https://chat.acme.org/x"),
        (f'Use "chat.acme.org".\r\nHost: where people reach it, such {host}', "chat.acme.org"),
        ("[openwebui]: ", "saml"),
        ("[openwebui]: ", "openwebui"),
        (stripe, "pk_test_0123456789abcdef"),
        (stripe, STRIPE_KEY),
        ("[here]: ", "localhost"),
        ("[here]: ", "here"),
    ]
    command = [sys.executable, "-m", "gateway", "init", str(tmp_path / "live")]
    shown, status = on_a_terminal(command, typed)
    assert status == 0, shown
    for problem in (
        "--identity: expected openwebui",
        "expected sk_… or rk_…",
        "--litellm: expected here, none or a URL",
    ):
        assert problem in shown
    assert (tmp_path / "live" / "secrets" / "stripe_secret_key").read_text() == f"{STRIPE_KEY}\n"
    assert STRIPE_KEY not in shown
    assert "pk_test" not in shown


def on_a_terminal(command: list[str], typed: list[tuple[str, str]]) -> tuple[str, int]:
    """Type a line each time the text before it is shown. What was shown in all, and the exit code."""
    main, side = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=environ, close_fds=True)
    os.close(side)
    shown, start = b"", 0
    try:
        for prompt, line in typed:
            while prompt.encode() not in shown[start:]:
                assert select.select([main], [], [], 30)[0], shown
                shown += os.read(main, 4096)
            start = len(shown)
            os.write(main, f"{line}\n".encode())
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while more := os.read(main, 4096):
                shown += more
        return shown.decode(), process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(main)
