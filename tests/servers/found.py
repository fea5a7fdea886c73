"""The real servers and tools of this machine: a missing one is a counted skip, or a failure if CI requires it.

SKPAY_TESTS_REQUIRE_ALL=1 turns each skip into a failure.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest


@dataclass(frozen=True, slots=True)
class _Tool:
    """`programs`: any of these will do. `folders` (glob patterns) are looked at besides the venv and PATH."""

    programs: tuple[str, ...]
    remedy: str
    folders: tuple[str, ...] = ()


_TOOLS = {
    "traefik": _Tool(("traefik",), "pip install 'skpayments[demo]'"),
    # Debian keeps the server's programs out of PATH.
    "postgresql": _Tool(("postgres",), "apt-get install postgresql", ("/usr/lib/postgresql/*/bin",)),
    "pgbouncer": _Tool(("pgbouncer",), "apt-get install pgbouncer", ("/usr/sbin",)),
    "litellm": _Tool(("litellm",), "make test-servers"),
    "chromium": _Tool(("chromium", "chromium-browser", "google-chrome"), "apt-get install chromium"),
    "chromedriver": _Tool(("chromedriver",), "apt-get install chromium-driver"),
    "docker": _Tool(("docker",), "apt-get install docker-cli"),
    "strace": _Tool(("strace",), "apt-get install strace"),
    "go": _Tool(("go",), "install Go 1.19 or newer (apt-get install golang-go)", ("/usr/local/go/bin",)),
    "cloudflared": _Tool(("cloudflared",), "go build ./cmd/cloudflared in github.com/cloudflare/cloudflared"),
    "nginx": _Tool(("nginx",), "apt-get install nginx-light", ("/usr/sbin",)),
}


def find(name: str) -> Path | None:
    """The program of this tool (the newest, where several versions are installed), or None."""
    tool = _TOOLS[name]
    folders = [Path(sys.executable).parent]
    for pattern in tool.folders:
        # Newest first: /usr/lib/postgresql/17 before 9.
        found = Path("/").glob(pattern.lstrip("/"))
        folders += sorted(found, key=lambda folder: (len(str(folder)), str(folder)), reverse=True)
    places = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    for program in tool.programs:
        where = shutil.which(program, path=places)
        if where:
            return Path(where)
    return None


def require(name: str) -> Path:
    """The program of this tool; skips the test where there is none, or fails it if all are required."""
    return find(name) or _missing(name)


def _missing(name: str) -> NoReturn:
    tool = _TOOLS[name]
    missing(f"{name} not found (looked for {', '.join(tool.programs)}); to get it: {tool.remedy}")


def missing(reason: str) -> NoReturn:
    """Skip the test for this reason, or fail it if all are required."""
    if os.environ.get("SKPAY_TESTS_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
