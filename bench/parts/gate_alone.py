"""The gate's listener alone: against nginx, with many users, with uncached tokens."""

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
_TOKENS = 4_000  # sessions in use at one time
_NEW_TOKENS_PER_SECOND = 40_000  # more than the gate can serve


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
                cell = report.mark(f"alone, {connections} connections", ratio, least=_ALONE) if name == "gate" else ""
                report.row(connections, name, round(run.rate), run.p99_ms, run.cpu_us[0], cell)


def users(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "Many users",
        f"Requests of {_TOKENS} cached sessions at random; 16 connections. "
        "Bytes per user in the table: by the size of the process, and by the gauge.",
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
        "Uncached tokens",
        "Every request is of another one of 1 000 000 users, so the gate verifies its token and signs an assertion; "
        "16 connections. Compared with 1 000 cached users.",
    )
    report.head("tokens", "req/s", "CPU us", "p99 ms", "cached", "bytes each")
    count = USERS[-1]
    cached = people.write_cookies(folder / "cached", people.some_of(1000, 1000))
    with gate_running(0, count) as gate:
        wrk.show(gate, cached)
        warm = wrk.alternate({"cached": _load(gate, wrk.to_gate(folder, cached), 16)}, rounds, seconds)["cached"]
        report.row("cached", round(warm.rate), warm.cpu_us[0], warm.p99_ms, "", "")
        new = people.some_of(count, int(_NEW_TOKENS_PER_SECOND * seconds))
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
