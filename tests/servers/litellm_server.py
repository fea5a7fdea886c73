"""The real LiteLLM proxy on a real PostgreSQL, started once per test session by tests/servers/litellm/run_litellm.sh.

It must be installed (`make test-servers`); tests skip loudly where it is not. Each session runs on ports and on a copy
of the empty database of its own, so that sessions do not meet.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers.found import missing
from servers.traefik import free_port

VERSION = os.environ.get("SKPAY_LITELLM_VERSION", "1.106.2")
MASTER_KEY = "sk-master-of-the-tests-5d1c"
ROOT = Path(os.environ.get("SKPAY_LITELLM_ROOT", "/var/tmp/skpayments-litellm"))  # noqa: S108  # made by `make test-servers`
_SCRIPT = Path(__file__).parent / "litellm" / "run_litellm.sh"
_RUNS = ROOT / "runs"


@dataclass(frozen=True, slots=True)
class RealLiteLLM:
    """A running proxy with the models gpt-small and gpt-big, X-OpenWebUI-User-Id mapped to customer."""

    url: str
    master_key: str
    env: dict[str, str]

    def stop_database(self) -> None:
        _run("db-stop", self.env)

    def start_database(self) -> None:
        _run("db-start", self.env)

    def processes(self) -> list[int]:
        """The ids of all live processes of this run: the proxy's whole session and the database."""
        run = self.env["RUN"]
        return [pid for pid, session, folder in _processes() if session == _leader(run) or run in folder]


@pytest.fixture(scope="session")
def real_litellm() -> Iterator[RealLiteLLM]:
    """The proxy, with nothing in its database; 10 to 20 s to start, once per session.

    Import it in one conftest only: a second import would be a second fixture, and another proxy of 900 MB.
    """
    with running_litellm() as server:
        yield server


@contextlib.contextmanager
def running_litellm(config: Path | None = None) -> Iterator[RealLiteLLM]:
    """A proxy for as long as the block lasts; `config` instead of the configuration that the script wrote."""
    if not (ROOT / f".installed-{VERSION}").exists():
        missing(f"LiteLLM {VERSION} is not installed in {ROOT}; to get it: make test-servers")
    _stop_the_forgotten()
    server = RealLiteLLM(*_start(config))
    before = server.processes()
    try:
        yield server
    finally:
        _run("stop", server.env)
    deadline = time.monotonic() + 10
    while left := set(before) & {pid for pid, _, _ in _processes()}:
        assert time.monotonic() < deadline, f"LiteLLM left processes behind: {left}"
        time.sleep(0.1)


def _start(config: Path | None) -> tuple[str, str, dict[str, str]]:
    port = free_port()
    env = {
        "ROOT": str(ROOT),
        "RUN": str(_RUNS / f"of-{os.getpid()}-{port}"),
        "PORT": str(port),
        "PGPORT": str(free_port()),
        "MASTER_KEY": MASTER_KEY,
        "LITELLM_VERSION": VERSION,
        **({} if config is None else {"CONFIG": str(config)}),
    }
    try:
        _run("start", env)
    except AssertionError:
        _run("stop", env)
        raise
    return f"http://127.0.0.1:{port}", MASTER_KEY, env


def _run(command: str, env: dict[str, str]) -> None:
    done = subprocess.run(
        [str(_SCRIPT), command],
        env={**env, "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"run_litellm.sh {command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def _stop_the_forgotten() -> None:
    """Stop what a killed test session could not."""
    for run in _RUNS.glob("of-*") if _RUNS.is_dir() else ():
        if not Path(f"/proc/{run.name.split('-')[1]}").exists():
            _run("stop", {"ROOT": str(ROOT), "RUN": str(run), "LITELLM_VERSION": VERSION})


def _leader(run: str) -> int:
    try:
        return int((Path(run) / "proxy.pid").read_text())
    except (OSError, ValueError):
        return -1


def _processes() -> list[tuple[int, int, str]]:
    """(process id, session, working folder) of every live process; zombies do not count."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            folder = str((place / "cwd").readlink()) if state != "Z" else ""
        except (OSError, ValueError):
            continue
        if state != "Z":
            found.append((int(place.name), int(session), folder))
    return found
