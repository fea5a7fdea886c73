"""The gate's cost behind the real Traefik: as ForwardAuth and as the plugin."""

from __future__ import annotations

from pathlib import Path

from parts import people, wrk
from parts.gate_server import gate_running
from parts.nginx import nginx_running
from parts.processes import Server
from parts.tables import Report
from parts.traefik import OTHER_GATE, UNGATED, Routes, traefik_running

CONNECTIONS = (1, 16, 64)
_OF_NGINX, _OF_UNGATED = 0.95, 0.80
_CORES = "Traefik and the app (nginx `return 200`) on one core, the auth server and wrk on the other"


def traefik(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "Through Traefik",
        f"ForwardAuth as `skpay routes write` has it. {_CORES}; 1 000 users with a JWT cookie. "
        "Compared with an nginx `return 200` with the same tags as auth server, and with no auth server.",
    )
    report.head("connections", "auth", "req/s", "p99 ms", "auth CPU us", "Traefik CPU us", "of no auth", "of nginx")
    cookies = people.write_cookies(folder / "thousand", people.some_of(1000, 1000))
    with (
        nginx_running(0, folder / "app", tags=False) as app,
        nginx_running(1, folder / "auth", tags=True) as nginx,
        gate_running(1) as gate,
        traefik_running(0, folder, Routes(app, gate, nginx)) as proxy,
    ):
        hosts = {"none": (UNGATED, app), "nginx": (OTHER_GATE, nginx), "gate": (people.HOST, gate)}
        wrk.show(proxy, cookies, people.HOST)
        for connections in CONNECTIONS:
            found = wrk.alternate(
                {name: _load(proxy, auth, folder, cookies, host, connections) for name, (host, auth) in hosts.items()},
                rounds, seconds,
            )  # fmt: skip
            for name, run in found.items():
                ratio = run.rate / found["nginx"].rate
                what = f"through Traefik, {connections} connections"
                report.row(
                    connections, name, round(run.rate), run.p99_ms, "" if name == "none" else run.cpu_us[1],
                    run.cpu_us[0], run.rate / found["none"].rate,
                    report.mark(what, ratio, least=_OF_NGINX) if name == "gate" else "",
                )  # fmt: skip


def plugin(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "Through Traefik with the plugin",
        f"{_CORES}; 1 000 users with a JWT cookie and kept answers. Compared with no gate.",
    )
    report.head("connections", "gate", "req/s", "p99 ms", "gate CPU us", "Traefik CPU us", "of no gate")
    cookies = people.write_cookies(folder / "thousand", people.some_of(1000, 1000))
    with (
        nginx_running(0, folder / "app", tags=False) as app,
        gate_running(1) as gate,
        traefik_running(0, folder, Routes(app, gate, plugin=True)) as proxy,
    ):
        hosts = {"none": UNGATED, "plugin": people.HOST}
        wrk.show(proxy, cookies, people.HOST)
        for connections in CONNECTIONS:
            loads = {name: _load(proxy, gate, folder, cookies, host, connections) for name, host in hosts.items()}
            found = wrk.alternate(loads, rounds, seconds)
            for name, run in found.items():
                ratio, marked = run.rate / found["none"].rate, name == "plugin" and connections > 1
                what = f"plugin, {connections} connections"
                report.row(
                    connections, name, round(run.rate), run.p99_ms, run.cpu_us[1], run.cpu_us[0],
                    report.mark(what, ratio, least=_OF_UNGATED) if marked else ratio,
                )  # fmt: skip


def _load(proxy: Server, auth: Server, folder: Path, cookies: Path, host: str, connections: int) -> wrk.Load:
    script = wrk.to_app(folder, cookies, host)
    return wrk.Load(f"http://127.0.0.1:{proxy.port}/", script, connections, (proxy, auth))
