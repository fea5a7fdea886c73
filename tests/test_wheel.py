"""The wheel holds all that a checkout does at run time, and the two Dockerfiles copy what exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from servers.checkout import PARTS, checkout

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without network, by the setuptools of our constraints."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run(
        [*build, "--disable-pip-version-check", "--wheel-dir", folder / "out", checkout(folder / "source")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (made,) = (folder / "out").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    folder = wheel.parent / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(unpacked: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`skpay` of the unpacked wheel, with the libraries of this environment but not its own installation of us."""
    return subprocess.run(
        [sys._base_executable, "-m", "gateway", *words],  # type: ignore[attr-defined]  # not in typeshed
        cwd=cwd,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(unpacked), sysconfig.get_path("purelib")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_it_holds_every_file_of_the_package_and_what_is_shipped(unpacked: Path) -> None:
    ours = {path.relative_to(ROOT) for path in (ROOT / "gateway").rglob("*") if path.is_file()}
    for path in sorted(ours):
        if "__pycache__" not in path.parts:
            assert (unpacked / path).is_file(), path
    shipped = unpacked / "gateway/shipped"
    for name in ("apps.json", "apps.schema.json", "docker-compose.yml"):
        assert (shipped / name).read_bytes() == (ROOT / name).read_bytes()
    plugin = ROOT / "traefik/plugins-local"
    for path in plugin.rglob("*"):
        if path.is_file() and not path.name.endswith("_test.go"):
            assert (shipped / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


def test_its_licence_metadata_follows_pep_639(unpacked: Path) -> None:
    (folder,) = unpacked.glob("skpayments-*.dist-info")
    metadata = Parser().parsestr((folder / "METADATA").read_text(encoding="utf-8"))
    assert (metadata["License-Expression"], metadata.get_all("License-File"), metadata["License"]) == (
        "MIT",
        ["LICENSE"],
        None,
    )
    assert (folder / "licenses/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_init_and_the_demo_run_from_it(unpacked: Path, tmp_path: Path) -> None:
    done = run(unpacked, "init", "live", "--host", "chat.acme.org", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "live/apps.json").read_bytes())["apps"][0]["hosts"] == ["chat.acme.org"]
    compose = (tmp_path / "live/docker-compose.yml").read_text(encoding="utf-8")
    mounted = [Path(path) for path in re.findall(r'source: "([^"]*)"', compose)]
    assert mounted == [unpacked / "gateway/shipped/traefik/plugins-local", unpacked / "gateway"]
    assert all(path.is_dir() for path in mounted)
    done = run(unpacked, "demo", "--help", cwd=tmp_path)
    assert (done.returncode, "no Docker" in done.stdout) == (0, True)


DOCKERFILES = ("Dockerfile", "Dockerfile.slim")


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / name).read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_copies_what_exists_and_is_let_through(name: str) -> None:
    """No engine is needed: the sources exist, and .dockerignore, which lets nothing else through, names them."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    copied = [rest.split() for word, rest in instructions(name) if word == "COPY"]
    assert copied
    for words in copied:
        *sources, target = [word for word in words if not word.startswith("--")]
        assert len(sources) == 1 or target.endswith("/")
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in allowed, source


def test_the_dockerfiles_start_from_the_images_we_test_for() -> None:
    assert [rest for word, rest in instructions("Dockerfile") if word in ("ARG", "FROM")] == [
        "OPEN_WEBUI_TAG=0.12.4-slim",
        "ghcr.io/open-webui/open-webui:${OPEN_WEBUI_TAG}",
    ]
    assert [rest for word, rest in instructions("Dockerfile.slim") if word == "FROM"] == ["python:3.12-slim"]


def test_the_slim_image_has_all_that_its_installation_reads() -> None:
    """What `pip install /src` builds is the wheel above, so its parts must all be copied before it."""
    copied = " ".join(rest for word, rest in instructions("Dockerfile.slim") if word == "COPY").split()
    for name in PARTS:
        assert name in copied or (name == "traefik" and "traefik/plugins-local" in copied), name
    (install,) = [rest for word, rest in instructions("Dockerfile.slim") if word == "RUN"]
    assert "--constraint /src/constraints.txt /src" in install


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_images_command_exists(name: str) -> None:
    (command,) = [json.loads(rest) for word, rest in instructions(name) if word == "CMD"]
    assert command == ["skpay", "serve"]
    if name == "Dockerfile":
        assert os.access(ROOT / "docker-skpay.sh", os.X_OK)
    else:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert command[0] in project["scripts"]
