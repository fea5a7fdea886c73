"""Load by wrk: on each connection one request after the other at full speed."""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parts.people import GATE_SECRET, HOST
from parts.processes import Server, pinned

_PICK = {
    "in turn": "at = at % n + 1",
    "at random": "at = math.random(n)",
    # No user twice: the file must suffice for the run.
    "once": "at = at + 1; if at > n then os.exit(7) end",
}
_SCRIPT = """
local cookies = {{}}
for line in io.lines("{cookies}") do cookies[#cookies + 1] = line end
local n, at = #cookies, 0
math.randomseed(1)
request = function()
  {pick}
  return {request}
end
"""
# The call of Traefik 3.7, in its order of headers.
_TO_GATE = (
    "GET /gate?app=skai HTTP/1.1\r\nHost: skpayments:8081\r\nUser-Agent: Go-http-client/1.1\r\n"
    "Accept: application/json\r\nCookie: ",
    "cookies[at]",
    f"\r\nX-Forwarded-For: 10.0.0.7\r\nX-Forwarded-Host: {HOST}\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Port: 443\r\n"
    "X-Forwarded-Proto: https\r\nX-Forwarded-Uri: /api/v1/chats/",
    "at",
    f"?page=1\r\nX-Sk-Gate: {GATE_SECRET}\r\nAccept-Encoding: gzip\r\n\r\n",
)


def to_gate(folder: Path, cookies: Path, pick: str = "in turn") -> Path:
    """A script that calls the gate as Traefik does, for a different path of each user."""
    return _script(folder / f"{cookies.stem} {pick}.lua", cookies, pick, _TO_GATE)


def to_app(folder: Path, cookies: Path, host: str) -> Path:
    """A script that sends the same requests as these users' browsers."""
    return _script(folder / f"{host}.lua", cookies, "in turn", _to_app(host))


def _to_app(host: str) -> tuple[str, ...]:
    after = f"?page=1 HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nCookie: "
    return "GET /api/v1/chats/", "at", after, "cookies[at]", "\r\n\r\n"


def _script(path: Path, cookies: Path, pick: str, request: Sequence[str]) -> Path:
    """`request`: text and Lua in turn."""
    pieces = [piece if number % 2 else f'"{piece}"' for number, piece in enumerate(request)]
    joined = " .. ".join(pieces).replace("\r\n", "\\r\\n")
    path.write_text(_SCRIPT.format(cookies=cookies, pick=_PICK[pick], request=joined))
    return path


def request_bytes(cookie: str, at: int = 0, host: str | None = None) -> bytes:
    """One such request: to the gate, or with `host` to an app."""
    filled = {"at": str(at), "cookies[at]": cookie}
    return "".join(filled.get(piece, piece) for piece in (_TO_GATE if host is None else _to_app(host))).encode()


def show(server: Server, cookies: Path, host: str | None = None) -> None:
    """Send one request for each user, so that all are cached."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection, cookies.open() as lines:
        for at, line in enumerate(lines, 1):
            connection.sendall(request_bytes(line.strip(), at, host))
            answer = connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 "), answer


@dataclass(frozen=True)
class Run:
    """Requests a second, the 99th percentile, and the processor time for each request that some servers took."""

    rate: float
    p99_ms: float
    cpu_us: tuple[float, ...]


@dataclass(frozen=True)
class Load:
    """A run of wrk; `watched` are the servers whose processor time is measured."""

    url: str
    script: Path
    connections: int
    watched: tuple[Server, ...] = ()

    def run(self, seconds: int, core: int = 1) -> Run:
        """Asserts that every answer was a 2xx."""
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--latency", "-s", str(self.script)]
        before = [server.cpu_seconds() for server in self.watched]
        done = subprocess.run(pinned(core, [*command, self.url]), capture_output=True, text=True, check=True)
        took = [server.cpu_seconds() - was for server, was in zip(self.watched, before, strict=True)]
        assert "Non-2xx" not in done.stdout, done.stdout
        assert "Socket errors" not in done.stdout, done.stdout
        found = re.search(r"99%\s+([\d.]+)(us|ms|s)\s+(\d+) requests in.*Requests/sec:\s+([\d.]+)", done.stdout, re.S)
        assert found is not None, done.stdout
        p99, unit, requests, rate = found.groups()
        milliseconds = float(p99) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
        return Run(float(rate), milliseconds, tuple(1e6 * seconds / int(requests) for seconds in took))


def alternate(loads: Mapping[str, Load], rounds: int, seconds: int) -> dict[str, Run]:
    """The medians. Runs alternate, so that other load affects all."""
    runs: dict[str, list[Run]] = {name: [] for name in loads}
    for _ in range(rounds):
        for name, load in loads.items():
            runs[name].append(load.run(seconds))
    return {name: median(found) for name, found in runs.items()}


def median(runs: Sequence[Run]) -> Run:
    """The median of each figure."""
    return Run(
        statistics.median(run.rate for run in runs),
        statistics.median(run.p99_ms for run in runs),
        tuple(statistics.median(values) for values in zip(*(run.cpu_us for run in runs), strict=True)),
    )
