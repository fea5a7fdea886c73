"""The gate's listener by itself: against nginx, with many users, with tokens never seen before."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

from parts import people, wrk
from parts.gate_server import gate_running
from parts.nginx import nginx_running
from parts.processes import Server
from parts.tables import Report

CONNECTIONS = (1, 16, 64)
USERS = (1_000, 100_000, 1_000_000)
_ALONE, _MANY, _BYTES = 0.65, 0.95, 250.0
_TOKENS = 4_000  # people who are there at one time
_FIRST_SIGHTS_A_SECOND = 40_000  # more than can be


def alone(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "Alone",
        "Server on one core, wrk on the other; 1 000 users with a JWT cookie, every feature switched on. "
        "CPU is processor time for each request.",
    )
    report.head("connections", "server", "req/s", "p99 ms", "CPU us", "of nginx")
    cookies = people.write_cookies(folder / "thousand", people.some_of(1000, 1000))
    script = wrk.to_gate(folder, cookies)
    with nginx_running(0, folder / "nginx", tags=True) as nginx, gate_running(0) as gate:
        wrk.show(gate, cookies)
        for connections in CONNECTIONS:
            found = wrk.alternate(
                {name: _load(server, script, connections) for name, server in (("nginx", nginx), ("gate", gate))},
                rounds, seconds,
            )  # fmt: skip
            for name, run in found.items():
                ratio = run.rate / found["nginx"].rate
                told = report.mark(f"alone, {connections} connections", ratio, least=_ALONE) if name == "gate" else ""
                report.row(connections, name, round(run.rate), run.p99_ms, run.cpu_us[0], told)


def users(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "Many users",
        f"{_TOKENS} sessions of some of them, whom the gate has seen, ask at random; 16 connections. "
        "Bytes for each user in the table: by the process's size, and by the gauge.",
    )
    report.head("users", "req/s", "CPU us", "p99 ms", "of 1 000", "bytes each", "by gauge")
    with ExitStack() as stack:
        base = stack.enter_context(gate_running(0, 0)).resident_bytes()
        servers = {count: stack.enter_context(gate_running(0, count)) for count in USERS}
        sizes = {count: (server.resident_bytes() - base) / count for count, server in servers.items()}
        loads: dict[str, wrk.Load] = {}
        for count, server in servers.items():
            cookies = people.write_cookies(folder / f"some-of-{count}", people.some_of(count, _TOKENS))
            wrk.show(server, cookies)
            loads[str(count)] = _load(server, wrk.to_gate(folder, cookies, "at random"), 16)
        found = wrk.alternate(loads, rounds, seconds)
        few = found[str(USERS[0])]
        for count, server in servers.items():
            run, most = found[str(count)], count == USERS[-1]
            ratio, size = run.rate / few.rate, sizes[count]
            by_gauge = _gauge(server, "skpay_tier_table_bytes") / count
            report.row(
                count, round(run.rate), run.cpu_us[0], run.p99_ms,
                report.mark("a million users", ratio, least=_MANY) if most else ratio,
                report.mark("bytes of a user", size, most=_BYTES) if most else size, by_gauge,
            )  # fmt: skip


def cold(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "First sights",
        "Every request of another one of 1 000 000 users, with a token that the gate has to verify and an assertion "
        "that it has to sign; 16 connections. Beside it 1 000 users whom it has seen.",
    )
    report.head("tokens", "req/s", "CPU us", "p99 ms", "remembered", "bytes each")
    count = USERS[-1]
    seen = people.write_cookies(folder / "seen", people.some_of(1000, 1000))
    with gate_running(0, count) as gate:
        wrk.show(gate, seen)
        warm = wrk.alternate({"seen": _load(gate, wrk.to_gate(folder, seen), 16)}, rounds, seconds)["seen"]
        report.row("seen", round(warm.rate), warm.cpu_us[0], warm.p99_ms, "", "")
        new = people.some_of(count, int(_FIRST_SIGHTS_A_SECOND * seconds))
        script = wrk.to_gate(folder, people.write_cookies(folder / "new", new), "once")
        run = _load(gate, script, 16).run(seconds)
        tokens = _gauge(gate, "skpay_cached_credentials")
        each = _gauge(gate, "skpay_cached_credentials_bytes") / tokens
        report.row("new", round(run.rate), run.cpu_us[0], run.p99_ms, round(tokens), each)


def _load(server: Server, script: Path, connections: int) -> wrk.Load:
    return wrk.Load(f"http://127.0.0.1:{server.port}/", script, connections, (server,))


def _gauge(server: Server, name: str) -> float:
    """A gauge of the app from the gate's own /metrics."""
    request = Request(f"http://127.0.0.1:{server.port}/metrics", headers={"X-SK-Gate": people.GATE_SECRET})
    with urlopen(request, timeout=10) as answer:  # noqa: S310  # our own address
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f'{name}{{app="skai"}}')).split()[1])
