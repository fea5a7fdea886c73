"""`routing` → a commented static configuration of Traefik, as a start for the operator's own. Pure.

Traefik reads it once, when it starts, and refuses to start if a key is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from gateway.catalog.model import Routing
from gateway.routing.model import PLUGIN, RELAY, RELAY_ADDRESS
from gateway.routing.static_text import Line, as_command, as_yaml

_DEFAULT_PORTS = {"web": 80, "http": 80, "websecure": 443, "https": 443}
_OPS_PORT = 8082
_MAX_HEADER_BYTES = 65536

_ENTRY_POINT_FILE = """\
# Written by skpay routes write --format static. Goes with Traefik's static configuration, whose entry points name it:
# without this file no router works.
#
# The gate sets X-SK-Tier for the apps, and Traefik's log and metrics read it. On a router without the gate, as our own
# public one or another site's, a visitor's own X-SK-Tier would stand there instead.
http:
  middlewares:
    sk-entry-point:
      headers:
        customRequestHeaders:
          # Empty: removed.
          X-SK-Tier: ""
"""


# Two seconds: the gate itself answers within one. Only connection errors open the breaker: a 503 of the gate concerns
# one user.
_RELAY_FILE = """\
    sk-gate-breaker:
      circuitBreaker:
        # Once most calls do not reach the gate, the others do not wait: 503, until one is answered.
        expression: NetworkErrorRatio() > 0.5
        checkPeriod: 100ms
        fallbackDuration: 1s
        recoveryDuration: 1s
        responseCode: 503
  routers:
    # ForwardAuth's calls to the gate, on Traefik's own loopback; the gate still requires GATE_SECRET.
    sk-gate-relay:
      rule: Path(`/gate`)
      entryPoints: [{relay}]
      middlewares: [sk-gate-breaker]
      service: sk-gate-relay
  services:
    sk-gate-relay:
      loadBalancer:
        serversTransport: sk-gate-relay
        servers:
          - url: {gate_url}
  serversTransports:
    sk-gate-relay:
      maxIdleConnsPerHost: 256
      forwardingTimeouts:
        # ForwardAuth itself would wait 30 seconds for a gate that does not answer.
        dialTimeout: 1s
        responseHeaderTimeout: 2s
"""


def static_files(routing: Routing, *, docker: bool = True) -> dict[str, str]:
    """The texts by path: traefik.yml, or for the HTTP provider the command of Traefik's container.

    `docker` False omits the Docker provider, for a Traefik without the engine's socket.

    The HTTP provider sends the gate's secret. Traefik replaces no variables in its file, but compose does in a command.
    """
    lines = list(_lines(routing, docker))
    relay = _RELAY_FILE.format(relay=RELAY, gate_url=json.dumps(routing.gate_urls[0])) if routing.gate_relay else ""
    texts = {"dynamic/entry-point.yml": _ENTRY_POINT_FILE + relay}
    if routing.provider == "http":
        return {"traefik-command.yml": as_command(routing, lines), **texts}
    return {"traefik.yml": as_yaml(routing, lines), **texts}


def _lines(routing: Routing, docker: bool) -> Iterator[Line]:
    ops = "ops" if "ops" not in routing.entry_points else "sk-ops"
    for number, name in enumerate(routing.entry_points):
        for line in _entry_point(routing, number, name):
            yield line if number == 0 else replace(line, why="")  # already explained
    why = "/ping and /metrics. Never publish this port."
    yield Line(("entryPoints", ops, "address"), f":{_OPS_PORT}", why)
    if routing.gate_relay:
        yield from _relay()
    yield from _providers(routing, docker)
    yield from _certificates(routing.cert_resolver)
    yield Line(
        ("experimental", "abortOnPluginFailure"),
        True,
        "A plugin that does not load takes its routers away, and the request falls through to whatever matches next.",
    )
    yield Line(
        ("experimental", "localPlugins", PLUGIN, "moduleName"),
        "github.com/skpayments/gate",
        'For `"gate": "plugin"` of routing in apps.json. Needs ./traefik/plugins-local mounted at /plugins-local: '
        "Traefik searches its working directory for it, and does not start without it.",
        commented_out=routing.gate != "plugin",
    )
    yield from _access_log()
    yield from _metrics(ops)
    yield Line(("ping", "entryPoint"), ops, "For the container's health check: traefik healthcheck.")
    yield Line(("log", "level"), "INFO", "A broken router, which Traefik leaves out, is logged as an error.")
    yield Line(("log", "format"), "json", "One object a line.")
    yield Line(("global", "checkNewVersion"), False, "It would send a request to Traefik's makers.")
    yield Line(("global", "sendAnonymousUsage"), False, "It would send usage data to them.")


def _relay() -> Iterator[Line]:
    here = ("entryPoints", RELAY)
    why = "For `gate_relay` of routing in apps.json: the calls to the gate, see dynamic/entry-point.yml."
    yield Line((*here, "address"), RELAY_ADDRESS, why)
    why = "Its only client is Traefik, which describes the client's request in these headers."
    yield Line((*here, "forwardedHeaders", "trustedIPs"), ("127.0.0.1/32",), why)


def _entry_point(routing: Routing, number: int, name: str) -> Iterator[Line]:
    here = ("entryPoints", name)
    yield Line((*here, "address"), f":{_port(routing, number, name)}", _why_address(routing))
    why = "Routers without entryPoints use this one, and no other."
    yield Line((*here, "asDefault"), True, why)
    yield Line((*here, "forwardedHeaders", "trustedIPs"), routing.trusted_ips, _why_trusted(routing))
    yield Line(
        (*here, "http", "middlewares"),
        ("sk-entry-point@file",),
        "Removes X-SK-Tier from every request before anything else reads it: see dynamic/entry-point.yml.",
    )
    yield Line(
        (*here, "http", "maxHeaderBytes"),
        _MAX_HEADER_BYTES,
        "Longer headers are answered with 431. The default allows 1 MiB of them per request.",
    )
    why = (
        "%2F, %5C, %00 and the like in a path: a backend may decode another path than Traefik and the gate. "
        "Answered with 400. Allow only those that an app of yours needs."
    )
    for kind in ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash"):
        yield Line((*here, "http", "encodedCharacters", f"allowEncoded{kind}"), False, why)
        why = ""
    yield Line(
        (*here, "http", "aliasHeadersStrategy"),
        "delete",
        "The generated routes remove our own headers in every spelling (X_SK_Tier, X.SK.Tier). `delete` does so for "
        "all headers that Traefik manages, such as X_Forwarded_For, but also removes api_key: and access_token:.",
        commented_out=True,
    )


def _port(routing: Routing, number: int, name: str) -> int:
    url = urlsplit(routing.traefik_url)
    tunnels = url.port or (443 if url.scheme == "https" else 80)
    return tunnels if number == 0 and name not in _DEFAULT_PORTS else _DEFAULT_PORTS.get(name, 8000 + number)


def _why_address(routing: Routing) -> str:
    if routing.cert_resolver is not None:
        return "Our routers have TLS here, with certificates of the resolver below."
    return (
        "A Cloudflare Tunnel terminates TLS at Cloudflare's edge and connects here in plain HTTP, so one is enough. "
        "Without a tunnel, set routing.entry_points and routing.cert_resolver in apps.json."
    )


def _why_trusted(routing: Routing) -> str:
    if routing.trusted_ips:
        return (
            "routing.trusted_ips of apps.json: the tunnel's addresses. Their X-Forwarded-For is trusted, so list no "
            "others. Limits by address count all requests that come another way as one client."
        )
    return (
        "Empty: no X-Forwarded-For is trusted. Behind a tunnel every visitor then has cloudflared's address, and all "
        'share one limit by address. Add the tunnel\'s address in apps.json: "trusted_ips": ["172.20.0.5/32"]. '
        "Never a whole private network, and never `insecure`."
    )


def _providers(routing: Routing, docker: bool) -> Iterator[Line]:
    folder = "/etc/traefik/dynamic"
    if routing.provider == "file":
        why = "skpay routes write puts skpayments.yml here. One invalid file in it blocks changes of all files."
    else:
        why = "For entry-point.yml, which the entry points name."
    yield Line(("providers", "file", "directory"), folder, why)
    yield Line(("providers", "file", "watch"), True, "Changes take effect at once.")
    if routing.provider == "http":
        here = ("providers", "http")
        why = (
            "The routes, from the gate's port: an edit of apps.json takes effect within seconds. Until the first "
            "answer after Traefik's start no route works; later Traefik keeps the last answer."
        )
        yield Line((*here, "endpoint"), f"{routing.gate_urls[0]}/traefik", why)
        yield Line((*here, "pollInterval"), "5s", "How often it is requested.")
        yield Line((*here, "headers", "X-SK-Gate"), "${GATE_SECRET}", "Only Traefik may read the routes.")
    if docker:
        yield from _docker_provider(routing)


def _docker_provider(routing: Routing) -> Iterator[Line]:
    kind = "swarm" if routing.provider == "swarm" else "docker"
    yield Line(
        ("providers", kind, "exposedByDefault"),
        False,
        "Without this, every container on the network gets a default router, Host(`its name`), without the gate.",
    )
    if routing.provider == kind:
        why = "The network of Traefik and the apps: routing.network of apps.json."
        yield Line(("providers", kind, "network"), routing.network, why)


def _certificates(resolver: str | None) -> Iterator[Line]:
    if resolver is None:
        return
    acme = ("certificatesResolvers", resolver, "acme")
    yield Line((*acme, "email"), "you@example.com", "Your e-mail address, for the certificate authority.")
    yield Line((*acme, "storage"), "/acme/acme.json", "On a volume: the number of new certificates is limited.")
    why = "Requires that port 443 is reachable from outside. Behind a tunnel it is not: use dnsChallenge there."
    yield Line((*acme, "tlsChallenge"), True, why)


def _access_log() -> Iterator[Line]:
    yield Line(("accessLog", "format"), "json", "One object per request, including refused ones.")
    yield Line(
        ("accessLog", "fields", "queryParameters", "defaultMode"),
        "drop",
        "Links that the gate signed contain the buyer's id in their query.",
    )
    headers = ("accessLog", "fields", "headers")
    yield Line((*headers, "defaultMode"), "drop", "The others contain cookies and keys.")
    why = "The tier after the gate, as request_X-Sk-Tier; of refusals, as downstream_X-Sk-Tier."
    yield Line((*headers, "names", "X-SK-Tier"), "keep", why)


def _metrics(ops: str) -> Iterator[Line]:
    here = ("metrics", "prometheus")
    yield Line((*here, "entryPoint"), ops, "At /metrics.")
    yield Line((*here, "addRoutersLabels"), True, "Each host has a router, so this counts by host.")
    yield Line(
        (*here, "headerLabels", "tier"),
        "X-SK-Tier",
        "Requests by tier, after the gate. A label that clients could choose would create a series for each value, so "
        "entry points, which count before any router runs, must not have it.",
    )
    yield Line((*here, "addEntryPointsLabels"), False, "See the label above.")
