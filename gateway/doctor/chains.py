"""The answers of Traefik's API as one value; a router's middlewares, and whether one is the gate. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Json = Mapping[str, Any]
_MOST_DEEP = 8  # chains and services may name each other; Traefik refuses cycles, and so must this
SECRET = "\x00the gate's secret"  # noqa: S105  # a placeholder
"""Placeholder for GATE_SECRET in an expected chain; any valid secret matches."""


@dataclass(frozen=True, slots=True)
class Middleware:
    """`kind` is Traefik's name (`headers`, `forwardAuth`, `plugin` …), '' for one that does not exist."""

    name: str
    kind: str
    options: Json


@dataclass(frozen=True, slots=True)
class Traefik:
    """Everything by its full name (`sk-app-blog@file`); without Traefik's own (`@internal`) routers."""

    version: str
    routers: Mapping[str, Json]
    middlewares: Mapping[str, Json]
    services: Mapping[str, Json]
    tcp_routers: Mapping[str, Json]
    tcp_services: Mapping[str, Json]
    entry_points: Mapping[str, Json]

    def chain(self, router: Json) -> list[Middleware]:
        """A router's middlewares in order, those of its entry points first; a chain is followed by its members."""
        return list(self._unfolded(router.get("middlewares") or (), _provider(router), 0))

    def auth_servers_of(self, name: str) -> set[str]:
        """`host:port` of the server that a ForwardAuth middleware asks; of all in it if it is a chain."""
        found = self._unfolded([name], name.rpartition("@")[2], 0)
        return {address_of(str(each.options.get("address"))) for each in found if each.kind == "forwardAuth"}

    def _unfolded(self, names: Sequence[str], provider: str, depth: int) -> Iterator[Middleware]:
        for name in names:
            full = _full(name, provider)
            found = self.middlewares.get(full)
            kind, options = ("", {}) if found is None else definition(found)
            if kind == "chain" and depth < _MOST_DEEP:
                yield Middleware(full, kind, {})
                yield from self._unfolded(options.get("middlewares") or (), full.rpartition("@")[2], depth + 1)
            else:
                yield Middleware(full, kind, options)

    def parents(self, router: Json) -> list[Json]:
        """The routers whose middlewares run before this one (multi-layer routing)."""
        names = (_full(name, _provider(router)) for name in router.get("parentRefs") or ())
        return [self.routers.get(name, {}) for name in names]

    def servers(self, router: Json) -> set[str]:
        """`host:port` of every server of an HTTP router, through any number of services."""
        return set(_servers(self.services, _full(router.get("service") or "", _provider(router)), 0))

    def servers_of(self, service: str) -> set[str]:
        """The same of a service, by its full name."""
        return set(_servers(self.services, service, 0))

    def tcp_servers(self, router: Json) -> set[str]:
        """The same of a TCP router."""
        return set(_servers(self.tcp_services, _full(router.get("service") or "", _provider(router)), 0))


def definition(found: Json) -> tuple[str, Json]:
    """(kind, options) of a middleware, from the API or from a configuration: the one part that is an object."""
    for key, value in found.items():
        if isinstance(value, Mapping):
            return key, value
    return "", {}


def gate_of(middleware: Middleware) -> tuple[str, frozenset[str]] | None:
    """(app id, the `host:port` of each address) if this is a gate, by ForwardAuth or by the plugin; None if it is
    anything else."""
    if middleware.kind == "forwardAuth":
        url = urlsplit(str(middleware.options.get("address")))
        query = parse_qsl(url.query)
        named = [value for name, value in query if name == "app"]
        return (named[0], frozenset([url.netloc])) if url.path == "/gate" and len(query) == len(named) == 1 else None
    if middleware.kind == "plugin":
        for options in middleware.options.values():
            found = {key.lower(): value for key, value in options.items()} if isinstance(options, Mapping) else {}
            urls = found.get("gateurl")
            if urls and "app" in found:
                listed = urls if isinstance(urls, list) else str(urls).split(",")  # labels are texts
                return str(found["app"]), frozenset(urlsplit(str(url)).netloc for url in listed)
    return None


def missing(expected: Sequence[Middleware], chain: Sequence[Middleware], secrets: Sequence[str]) -> list[str]:
    """The expected middlewares that the chain lacks or has out of order; others may be in between."""
    problems: list[str] = []
    after = 0
    for desired in expected:
        place = next((at for at, has in enumerate(chain) if at >= after and not _differs(desired, has, secrets)), None)
        if place is not None:
            after = place + 1
            continue
        # In labels, the secret's middleware is named after its app.
        alike = [has for has in chain if has.kind == desired.kind and has.name.startswith(desired.name)]
        differs = _differs(desired, alike[0], secrets) if alike else []
        problems += differs or [f"{desired.name} is not among its middlewares, or not in its place"]
    return problems


def _differs(expected: Middleware, has: Middleware, secrets: Sequence[str]) -> list[str]:
    if not expected.kind:
        return [] if expected.name == has.name else [f"{has.name} is not {expected.name}"]
    if expected.kind != has.kind:
        return [f"{has.name} is no {expected.kind}"]
    return list(_differences(has.name, expected.options, has.options, secrets))


def _differences(path: str, expected: Any, has: Any, secrets: Sequence[str]) -> Iterator[str]:
    """Lines without values: one of them is the secret."""
    if isinstance(expected, Mapping) and isinstance(has, Mapping):
        found = {key.lower(): value for key, value in has.items()}
        lacking = [key for key in expected if key.lower() not in found]
        if lacking:
            yield f"{path} has no {', '.join(lacking)}"
        for key, value in expected.items():
            if key not in lacking:
                yield from _differences(f"{path}.{key}", value, found[key.lower()], secrets)
    elif expected == SECRET:
        if not has:
            yield f"{path} is empty: Traefik has no GATE_SECRET in its environment"
        elif has not in secrets:
            yield f"{path} is another secret than ours"
    elif expected != (has.split(",") if isinstance(expected, list) and isinstance(has, str) else has):
        # A plugin's list is a string if it comes from labels.
        yield f"{path} is not what skpay routes write makes"


def _servers(services: Mapping[str, Json], name: str, depth: int) -> Iterator[str]:
    found = services.get(name)
    if found is None or depth > _MOST_DEEP:
        return
    provider = name.rpartition("@")[2]
    for server in (found.get("loadBalancer") or {}).get("servers") or ():
        yield address_of(str(server.get("url") or server.get("address") or ""))
    for inner in _inner(found):
        yield from _servers(services, _full(inner, provider), depth + 1)


def _inner(service: Json) -> Iterator[str]:
    """The services of a composed service: weighted, mirroring, failover, highestRandomWeight."""
    for kind in ("weighted", "highestRandomWeight"):
        yield from (str(each.get("name")) for each in (service.get(kind) or {}).get("services") or ())
    mirroring, failover = service.get("mirroring") or {}, service.get("failover") or {}
    yield from (str(each.get("name")) for each in mirroring.get("mirrors") or ())
    yield from (
        str(name) for name in (mirroring.get("service"), failover.get("service"), failover.get("fallback")) if name
    )


def address_of(url: str) -> str:
    """`host:port` of a URL or of an address."""
    parts = urlsplit(url if "://" in url else f"tcp://{url}")
    try:
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return url
    return f"{parts.hostname}:{port}"


def _provider(router: Json) -> str:
    return str(router.get("name") or "").rpartition("@")[2]


def _full(name: str, provider: str) -> str:
    return name if "@" in name else f"{name}@{provider}"
