"""Finds ways past the gate: compares every router of Traefik, HTTP and TCP, with the routes of apps.json. Pure.

A container without labels gets a router (`exposedByDefault`), labels are left over, a TCP router comes before every
HTTP router, a broken middleware disables its router (T39).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.doctor.chains import Json, Middleware, Traefik, definition, gate_of, missing
from gateway.doctor.finding import Finding, bad, ok, warning
from gateway.doctor.rules import reach

GATE, ROUTERS, TCP = "traefik: gate on every router", "traefik: routers", "traefik: TCP routers"
_WRITE = "skpay routes write, and see that Traefik reads what it writes"
_OURS = ("sk-app-", "sk-arrived-", "sk-public", "sk-tier-", "sk-anonymous-tier-", "sk-rest-")
_OF_APP = re.compile(r"sk-(?:app|tier)-([a-z0-9-]+)(?:_[^@]*)?@")


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected routes. `hosts`: host → app id. `chains`: for each kind of gate, host → the middlewares of its
    requests; any of them is right. `upstreams`: app id → `host:port` of its servers, in every known spelling. `gates`:
    the `host:port` of every gate. `secrets`: the valid ones. `sign_in`: app id → the middlewares of a sign-in proxy
    before its gate."""

    hosts: Mapping[str, str]
    chains: Sequence[Mapping[str, Sequence[Middleware]]]
    upstreams: Mapping[str, frozenset[str]]
    public_host: str
    gates: frozenset[str]
    secrets: tuple[str, ...]
    entry_points: tuple[str, ...]
    sign_in: Mapping[str, Sequence[str]] = field(default_factory=dict)


def expected_chains(document: Mapping[str, Any], hosts: Iterable[str]) -> dict[str, list[Middleware]]:
    """The chain of each app's host, from the generated dynamic configuration."""
    http = document["http"]
    routers = {router["rule"]: router for router in http["routers"].values()}
    return {
        # Of the operator's own middlewares, which the identity kind `header` names, only the name is known.
        host: [Middleware(name, *definition(http["middlewares"].get(name, {}))) for name in router["middlewares"]]
        for host, router in ((host, routers[f"Host(`{host}`)"]) for host in hosts)
    }


def find_bypasses(traefik: Traefik, expected: Expected) -> list[Finding]:
    """Every way past the gate, and every generated router that is missing, broken or out of date."""
    finder = _BypassFinder(traefik, expected)
    gate = [*finder.hosts(), *finder.bypasses(), *finder.outdated()]
    routers = [*finder.broken(), *finder.public()]
    tcp = list(finder.tcp())
    count = len(traefik.routers)
    if not gate:
        gate = [ok(GATE, f"{count} routers; every one that reaches an app has its gate")]
    if not routers:
        routers = [ok(ROUTERS, f"{count}, none with an error")]
    if not tcp:
        tcp = [ok(TCP, f"{len(traefik.tcp_routers)} routers; none takes connections of an app")]
    return [*routers, *gate, *tcp]


class _BypassFinder:
    def __init__(self, traefik: Traefik, expected: Expected) -> None:
        self._traefik = traefik
        self._expected = expected
        self._ids_of_app: set[str] = set()
        self._apps_at: dict[str, set[str]] = {}
        for app_id, servers in expected.upstreams.items():
            for server in servers:
                self._apps_at.setdefault(server, set()).add(app_id)
        # Traefik shows a container's address where the upstream is a name.
        for name in traefik.services:
            app_id = next((found[1] for found in [_OF_APP.match(name)] if found), "")
            for server in traefik.servers_of(name) if app_id in expected.upstreams else ():
                self._apps_at.setdefault(server, set()).add(app_id)

    def _gates(self, router: Json) -> set[str]:
        """The apps whose gate has checked every request that this router serves."""
        parents = self._traefik.parents(router)
        if router.get("parentRefs"):
            through = [self._gates(parent) for parent in parents]
            inherited = set.intersection(*through) if through else set()
        else:
            inherited = set()
        gates = (gate_of(each) for each in self._traefik.chain(router))
        return inherited | {found[0] for found in gates if found is not None and found[1] <= self._expected.gates}

    def _roots(self) -> Iterator[Json]:
        """Enabled routers, in the order in which Traefik tries them."""
        for router in self._traefik.routers.values():
            # The service noop answers nothing: routers that redirect to https have it.
            served = router.get("status") != "disabled" and router.get("service") != "noop@internal"
            if served and not router.get("parentRefs"):
                yield router

    def hosts(self) -> Iterator[Finding]:
        """Each host of an app has a router with the gate, and no router without it comes first."""
        for host, app_id in self._expected.hosts.items():
            reached = [(router, how) for router in self._roots() if (how := _reach(router, host)) != "no"]
            open_ = [(router, how) for router, how in reached if app_id not in self._gates(router)]
            gated = [router for router, how in reached if how == "whole" and app_id in self._gates(router)]
            first = max(map(_priority, gated), default=0)
            past = [
                router
                for router, how in open_
                if (how != "any" or (gated and _priority(router) > first)) and not self._signs_in(router, how, app_id)
            ]
            self._ids_of_app |= {str(router.get("name")) for router in past}
            if not gated:
                names = ", ".join(str(router.get("name")) for router in past)
                instead = f"; without it: {names}" if names else ""
                yield bad(GATE, f"no router with the gate serves {host}{instead}", _WRITE)
                continue
            for router in past:
                before = ", before the gate's router" if _priority(router) > first else ""
                yield bad(GATE, f"{_describe(router)} serves {host} without the gate{before}", _removal_steps(router))

    def _signs_in(self, router: Json, how: str, app_id: str) -> bool:
        """Whether this router serves only the paths of the app's own sign-in proxy (its callback).

        Compared by port: the middleware names the proxy, while Traefik shows its container's address.
        """
        servers = self._traefik.servers(router)
        if how != "named" or not servers or servers & self._apps_at.keys():
            return False
        proxies = {
            each for name in self._expected.sign_in.get(app_id, ()) for each in self._traefik.auth_servers_of(name)
        }
        return {_port(each) for each in servers} <= {_port(each) for each in proxies}

    def bypasses(self) -> Iterator[Finding]:
        """No router of any host leads to an app's server without that app's gate."""
        for router in self._traefik.routers.values():
            if router.get("status") == "disabled":
                continue
            if router.get("name") in self._ids_of_app:
                continue
            gates = self._gates(router)
            for server in sorted(self._traefik.servers(router)):
                apps = self._apps_at.get(server, set())
                if apps and not gates & apps:
                    name = " and ".join(sorted(apps))
                    yield bad(
                        GATE, f"{_describe(router)} leads to {name} ({server}) without the gate", _removal_steps(router)
                    )

    def outdated(self) -> Iterator[Finding]:
        """The routers with the gate have exactly the chain of apps.json."""
        differences: set[str] = set()
        for host, app_id in self._expected.hosts.items():
            for router in self._roots():
                if _reach(router, host) in ("whole", "named") and app_id in self._gates(router):
                    has = self._traefik.chain(router)
                    lines = [missing(chains[host], has, self._expected.secrets) for chains in self._expected.chains]
                    fewest = min(lines, key=len)
                    differences.update(fewest)
        of_secret = sorted(line for line in differences if "secret" in line.lower())
        if of_secret:
            remedy = "give Traefik the same GATE_SECRET as SKPayments, and restart it"
            yield bad(GATE, "; ".join(of_secret), remedy)
        if differences - set(of_secret):
            yield bad(GATE, f"routes are out of date: {'; '.join(sorted(differences - set(of_secret)))}", _WRITE)

    def broken(self) -> Iterator[Finding]:
        """Traefik disables a router with an error, and the next one serves the request."""
        for name, router in self._traefik.routers.items():
            errors = router.get("error") or ()
            if not errors and router.get("status") == "enabled":
                continue
            ours = any(part in name for part in _OURS)
            line = f"{_describe(router)}: {'; '.join(map(str, errors)) or router.get('status')}"
            yield bad(ROUTERS, line, _WRITE) if ours else warning(ROUTERS, line, "fix it where it is defined")

    def public(self) -> Iterator[Finding]:
        host = self._expected.public_host
        if not any(_reach(router, host) == "whole" for router in self._roots()):
            yield bad(ROUTERS, f"no router serves {host}, so neither Stripe nor buyers reach SKPayments", _WRITE)

    def tcp(self) -> Iterator[Finding]:
        """A TCP router comes before every HTTP router of its entry points."""
        for router in self._traefik.tcp_routers.values():
            if router.get("status") == "disabled":
                continue
            app_ids = set().union(*(self._apps_at.get(each, set()) for each in self._traefik.tcp_servers(router)))
            for app_id in sorted(app_ids):
                yield bad(TCP, f"{_describe(router)} leads to {app_id} without the gate", _removal_steps(router))
            if app_ids:
                continue
            reaches = {host: _reach(router, host) for host in self._expected.hosts}
            shared = set(router.get("entryPoints") or ()) & set(self._expected.entry_points)
            for host, how in reaches.items():
                if how in ("whole", "named") or (how == "any" and shared):
                    yield bad(TCP, f"{_describe(router)} takes {host} before the gate", _removal_steps(router))
                    break


def _reach(router: Json, host: str) -> str:
    return reach(str(router.get("rule") or ""), host)


def _priority(router: Json) -> int:
    return int(router.get("priority") or 0)


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _describe(router: Json) -> str:
    return f"{router.get('name')} ({router.get('rule')})"


def _removal_steps(router: Json) -> str:
    name = str(router.get("name"))
    provider = name.rpartition("@")[2]
    if provider in ("docker", "swarm"):
        return (
            f"take the labels of {name} off its container, or give that the label traefik.enable=false; for all: "
            f"providers.{provider}.exposedByDefault: false"
        )
    return f"remove {name} from the {provider} provider"
