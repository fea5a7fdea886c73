"""`skpay` as a person runs it, in this process: its exit code and what it printed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from cli_result import CliResult, Skpay
from servers.running import SECRETS, Running, environ_of, running_application, write_apps
from servers.traefik import free_port

from gateway.cli import _run


@pytest.fixture
def skpay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Skpay:
    """Run a command with exactly this environment; no output of it ever holds a secret of the environment."""

    async def run(*words: str, env: Mapping[str, str] | None = None) -> CliResult:
        monkeypatch.setattr(sys, "argv", ["skpay", *words])
        with monkeypatch.context() as patched:
            for name in list(os.environ):
                if name.isupper() and name not in ("PATH", "HOME", "PYTEST_CURRENT_TEST"):
                    patched.delenv(name)
            for name, value in (env or {}).items():
                patched.setenv(name, value)
            patched.setenv("COLUMNS", "80")
            handlers = logging.getLogger().handlers[:]
            code = await asyncio.to_thread(_run)
            logging.getLogger().handlers[:] = handlers  # `serve` sets logging up for good
        captured = capsys.readouterr()
        assert not [secret for secret in SECRETS if secret in captured.out + captured.err]
        return CliResult(code, captured.out, captured.err)

    return run


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A server that `skpay` finds."""
    write_apps(tmp_path, lambda apps: apps["apps"][0]["litellm"].update(shared_key="env:LITELLM_KEY"))
    async with running_application(tmp_path) as application:
        application.environ["PORT"] = str(application.application.web_port)
        application.environ["GATE_PORT"] = str(application.application.gate_port)
        yield application


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """An environment in which no server runs, and no vendor answers."""
    write_apps(tmp_path)
    nobody = "http://127.0.0.1:9"
    ports = {"PORT": str(free_port()), "GATE_PORT": str(free_port())}
    return environ_of(tmp_path, stripe_url=nobody, litellm_url=nobody, **ports)
