"""How close to free the gate is: the listener alone against nginx `return 200` with the same four headers.

    python bench/gate.py [--seconds 3] [--rounds 2]

One core each for the server and for wrk where there are two; 1 000 users with a JWT cookie, asked in turn, each for
a path of their own. A ratio means something only within one run on a quiet machine. Without nginx there is no ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import uvloop

from gateway.access import links
from gateway.access.app_access import app_access
from gateway.access.table import TierTable
from gateway.catalog.model import App, Limits, OpenWebUIIdentity, Price, Route, SecretRef, Tier, UserKeyIdentity
from gateway.gate import Gate, listen
from gateway.metrics import Registry
from gateway.settings import Secret

USERS = 1000
CONNECTIONS = (1, 16, 64)
SESSION_SECRET = "0123456789abcdef0123456789abcdef"
GATE_SECRET = "fedcba9876543210fedcba9876543210"
APP = App(
    app_id="skai", name="SKAI", hosts=("chat.example.com",), upstream="http://app:8080", api_key=None,
    identity=(OpenWebUIIdentity(SecretRef("env", "WEBUI_SECRET_KEY")), UserKeyIdentity()), litellm=None,
    success_url="", cancel_url="", grace_seconds=0, anonymous="tag",
    tiers=(
        Tier("free", "Free", 0, (), (), Limits(), internal=False),
        Tier("pro", "Pro", 1, (Price("price_1"),), ("images",), Limits(), internal=False),
    ),
    routes=(Route("/api/v1/images", min_tier="pro"), Route("/static", public=True)),
)  # fmt: skip
# What Traefik 3.7 sends with the allow-list that we generate.
WRK_SCRIPT = """
local cookies = {}
for line in io.lines("%s") do cookies[#cookies + 1] = line end
local n, at = #cookies, 0
local head = {
  ["User-Agent"] = "Go-http-client/1.1", ["Accept"] = "application/json", ["Accept-Encoding"] = "gzip",
  ["X-Forwarded-For"] = "10.0.0.7", ["X-Forwarded-Host"] = "chat.example.com", ["X-Forwarded-Method"] = "GET",
  ["X-Forwarded-Port"] = "443", ["X-Forwarded-Proto"] = "https", ["X-Forwarded-Server"] = "traefik",
  ["X-Sk-Gate"] = "%s",
}
request = function()
  at = at %% n + 1
  head["Cookie"] = cookies[at]
  head["X-Forwarded-Uri"] = "/api/v1/chats/" .. at .. "?page=1"
  return wrk.format("GET", "/gate?app=skai", head)
end
"""


def user_ids() -> list[str]:
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(USERS)]
    return [f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}" for text in digests]


def session(user_id: str) -> str:
    """A token with the claims of a real one of Open WebUI 0.12."""
    now = int(time.time())
    claims = {
        "id": user_id, "typ": "session", "auth_method": "password", "auth_time": now, "session_stamp": user_id,
        "mfa_verified": False, "exp": now + 2419200, "jti": user_id, "iat": now,
    }  # fmt: skip
    return jwt.encode(claims, SESSION_SECRET, "HS256")


async def serve_gate(port: int) -> None:
    table = TierTable()
    table.replace("skai", [(user_id, "pro", None) for user_id in user_ids()])
    gate = Gate(
        secrets=(Secret(GATE_SECRET),), public_url="https://pay.example.com", table=table, registry=Registry(),
        sign_link=lambda app_id, user_id, now: links.sign(b"k" * 32, app_id, user_id, now),
    )  # fmt: skip
    ref = SecretRef("env", "WEBUI_SECRET_KEY")
    gate.install({"skai": app_access(APP, {ref: (Secret(SESSION_SECRET),)}, {})})
    gate.ready = True
    await listen(gate, "127.0.0.1", port)
    await asyncio.Event().wait()


NGINX_CONF = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr emerg;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port}; server_tokens off;
    location / {{
      add_header X-SK-App skai; add_header X-SK-Tier pro; add_header X-SK-Features images;
      add_header X-SK-User 00000000-0000-4000-a000-000000000000; return 200;
    }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(core: int, command: list[str]) -> list[str]:
    cores = os.cpu_count() or 1
    return ["taskset", "-c", str(core), *command] if cores > 1 and shutil.which("taskset") else command


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start it, wait for its port, stop it by its own id."""
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"{command[:4]} ended"
                assert time.monotonic() < deadline, f"{command[:4]} does not listen"
                time.sleep(0.02)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time of a process and of its children that still run (nginx's worker)."""
    total = 0.0
    pids = [process.pid]
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return total


def wrk(port: int, script: Path, connections: int, seconds: float) -> tuple[float, str]:
    """Requests a second and the 99th percentile; asserts that every answer was a 2xx."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(script)]
    done = subprocess.run(
        pinned(1, [*command, f"http://127.0.0.1:{port}/"]), capture_output=True, text=True, check=True
    )
    assert "Non-2xx" not in done.stdout, done.stdout
    assert "Socket errors" not in done.stdout, done.stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    slowest = re.search(r"99%\s+(\S+)", done.stdout)
    assert rate is not None, done.stdout
    assert slowest is not None, done.stdout
    return float(rate[1]), slowest[1]


def measure(servers: dict[str, tuple[subprocess.Popen[bytes], int]], script: Path, options: argparse.Namespace) -> None:
    """Alternate between the servers, so that a busy moment of the machine hits both; print the medians."""
    print(f"{'connections':>12} {'server':>8} {'req/s':>10} {'p99':>10} {'CPU us/req':>11} {'of nginx':>9}")
    for connections in CONNECTIONS:
        rates: dict[str, list[float]] = {name: [] for name in servers}
        rows: dict[str, tuple[str, float]] = {}
        for _ in range(options.rounds):
            for name, (process, port) in servers.items():
                before = cpu_seconds(process)
                rate, slowest = wrk(port, script, connections, options.seconds)
                rates[name].append(rate)
                rows[name] = slowest, (cpu_seconds(process) - before) / (rate * options.seconds) * 1e6
        medians = {name: statistics.median(values) for name, values in rates.items()}
        for name, median in medians.items():
            ratio = f"{median / medians['nginx']:.2f}" if "nginx" in medians else "-"
            slowest, cpu = rows[name]
            print(f"{connections:>12} {name:>8} {median:>10.0f} {slowest:>10} {cpu:>11.1f} {ratio:>9}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, metavar="PORT", help="only serve the gate, for a profiler")
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve_gate(options.serve))
        return
    if shutil.which("wrk") is None:
        sys.exit("bench/gate.py: wrk is not installed (Debian: apt install wrk nginx-light)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cookies, script = folder / "cookies", folder / "requests.lua"
        cookies.write_text("".join(f"token={session(user_id)}\n" for user_id in user_ids()))
        script.write_text(WRK_SCRIPT % (cookies, GATE_SECRET))
        port, nginx_port = free_port(), free_port()
        with running(pinned(0, [sys.executable, __file__, "--serve", str(port)]), port) as gate:
            servers = {"gate": (gate, port)}
            nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
            if nginx is None:
                print("nginx is not installed: no ratio")
                measure(servers, script, options)
                return
            conf = folder / "nginx.conf"
            conf.write_text(NGINX_CONF.format(folder=folder, port=nginx_port))
            command = pinned(0, [nginx, "-p", str(folder), "-e", "stderr", "-c", str(conf)])
            with running(command, nginx_port) as peer:
                measure({"nginx": (peer, nginx_port), **servers}, script, options)


if __name__ == "__main__":
    main()
