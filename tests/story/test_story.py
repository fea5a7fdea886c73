"""The demo as a program: its whole story, a story that must fail, and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers.found import require

pytestmark = pytest.mark.needs_traefik

LINES = (
    "Ada signed in; the app got X-SK-User: ",
    "forged headers in as many spellings were sent; none reached the app",
    "/reports was refused: 402 tier_required, needs pro",
    "LiteLLM refused Ada the model gpt-big: 403, not among the models of free",
    "the app got X-SK-Tier: pro, ",
    "LiteLLM let Ada use the model gpt-big",
    "the app got X-SK-Tier: enterprise, ",
    "a renewal failed: Ada's page shows it, and she keeps enterprise during grace",
    "the app got X-SK-Tier: free, ",
    "Every step succeeded.",
)


ROOT = Path(__file__).parents[2]


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return {**kept, "TMPDIR": str(tmp_path), **more}


@contextmanager
def demo(env: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m gateway demo`, in a session of its own so that whatever it leaves behind can be found."""
    require("traefik")
    command = [sys.executable, "-m", "gateway", "demo", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def processes_of(mark: str) -> list[int]:
    """Every process whose environment or command line names this folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            output = (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in output and int(place.name) != os.getpid():
            found.append(int(place.name))
    return found


def test_the_story_succeeds(tmp_path: Path) -> None:
    # What this machine has set for a real installation does not meet the demo's.
    with demo(environ(tmp_path, GATE_SECRET_FILE="/nowhere", STRIPE_SECRET_KEY_FILE="/nowhere"), "--story") as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    place = -1
    for line in LINES:
        assert output.find(line) > place, f"{line!r} is missing or out of order:\n{output}"
        place = output.find(line)
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    documented = re.search(
        r"```text\n(✓ Ada signed in.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert documented is not None
    assert _without_seconds(documented[1]) in _without_seconds(output), "README shows other lines than the demo prints"


def _without_seconds(lines: str) -> str:
    return re.sub(r"\d+\.\d\d s after", "N s after", lines)


def test_a_gate_with_another_secret_fails_the_story(tmp_path: Path) -> None:
    """Traefik is given a wrong GATE_SECRET: then nothing may pass, and the demo must not report success."""
    wrapper = tmp_path / "bin" / "traefik"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nGATE_SECRET=wrong exec {require("traefik")} "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    script = (
        "import sys; from pathlib import Path\n"
        "from gateway.cli import main\n"
        "from gateway.sandbox.demo import processes, stage\n"
        f"stage.find_traefik = lambda: {str(wrapper)!r}\n"
        "processes.READY_SECONDS = 5.0\n"
        "sys.argv = ['skpay', 'demo', '--story']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ(tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert "Every step succeeded" not in done.stdout
    assert "The end of" in done.stderr + done.stdout
    assert processes_of(str(tmp_path)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_everything_and_frees_the_ports(tmp_path: Path, number: signal.Signals) -> None:
    with demo(environ(tmp_path)) as process:
        assert process.stdout is not None
        output = ""
        while "Press Ctrl-C" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        urls = re.findall(r"http://[\w.]+:(\d+)", output)
        assert len(processes_of(str(tmp_path))) >= 3  # the demo, SKPayments, Traefik
        process.send_signal(number)
        assert process.wait(30) == 0
        assert "stopping" in process.stdout.read()
    deadline = time.monotonic() + 5
    while left := processes_of(str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert {port for port in urls if _listening(int(port))} == set()
    assert list(tmp_path.iterdir()) == []


def _listening(port: int) -> bool:
    text = Path("/proc/net/tcp").read_text(encoding="ascii")
    return any(f":{port:04X} 00000000:0000 0A" in line for line in text.splitlines())
