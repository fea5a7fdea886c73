"""The whole product at once: the story through the real Traefik, as the README's command plays it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers.found import require

pytestmark = pytest.mark.needs_traefik


def _demo(*arguments: str) -> subprocess.Popen[str]:
    require("traefik")
    command = [sys.executable, "-m", "gateway", "demo", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _processes_naming(text: str) -> list[int]:
    """Every process whose command line or environment holds `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in told:
            found.append(int(folder.name))
    return found


def test_the_story_is_seen_from_free_to_paid_and_back() -> None:
    with _demo("--story") as demo:
        output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    for told in (
        "X-SK-Tier: free",
        "none reached the app",
        "was refused: 402 tier_required, needs pro",
        "X-SK-Tier: pro",
        "budget skai.pro",
        "X-SK-Tier: enterprise",
        "a renewal failed",
        "Every step was seen.",
    ):
        assert told in output, output


def test_the_story_fails_when_traefik_has_another_secret(tmp_path: Path) -> None:
    """What the story believes is what it saw: with a gate that refuses Traefik it must not pass."""
    broken = (
        "import sys\n"
        "from gateway.cli import demo_stage, main\n"
        "original = demo_stage._environment\n"
        "def other(stage, ports, keys):\n"
        "    return {**original(stage, ports, keys), 'GATE_SECRET': 'b' * 64}\n"
        "demo_stage._environment = other\n"
        "demo_stage.READY_SECONDS = 8\n"
        "sys.argv = ['skpay', 'demo', '--story']\n"
        "main()\n"
    )
    require("traefik")
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode not in (0, 70), done.stdout + done.stderr
    assert "Every step was seen." not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_demo_leaves_nothing_behind(number: signal.Signals) -> None:
    with _demo() as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        folder = next(word for line in lines for word in line.split() if "skpayments-demo-" in word).strip(";,.")
        port = int(next(line for line in lines if "the sample app" in line and "http" in line).split(":")[2].split()[0])
        assert len(_processes_naming(folder)) >= 2
        os.kill(demo.pid, number)
        assert demo.wait(40) == 0
    deadline = time.monotonic() + 10
    while left := _processes_naming(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert not Path(folder).exists()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
