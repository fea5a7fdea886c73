"""Plan → Cloudflare Tunnel: cloudflared's ingress, DockFlare's labels; and what cloudflared would refuse. Pure.

The tunnel always leads to Traefik, never to an app: that would bypass the gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.routing.model import Plan
from gateway.routing.traefik import as_yaml

_CATCH_ALL = {"service": "http_status:404"}
_SPECIAL_SERVICES = {"hello_world", "hello-world", "bastion", "socks-proxy"}
# Lookaround, backreferences, possessive and atomic groups.
_PYTHON_ONLY_SYNTAX = re.compile(r"\(\?(?:[=!>(#]|<[=!]|P=)|\\[Z1-9]|[*+?}]\+")
_GO_ONLY_SYNTAX = re.compile(r"\\[pP](?:\{\^?\w+\}|\w)|\\z|\[:\^?[a-z]+:\]")
_MAX_REPETITIONS = 1000
_STATUS = re.compile(r"http_status:([1-9][0-9]{2})")


def ingress(plan: Plan) -> list[dict[str, Any]]:
    """One rule per host, then the catch-all that cloudflared requires last. No paths: the gate checks those."""
    rules: list[dict[str, Any]] = []
    for router in plan.routers:
        rule: dict[str, Any] = {"hostname": router.host, "service": plan.routing.traefik_url}
        if plan.routing.traefik_url.startswith("https:"):
            # Traefik selects the certificate by this name.
            rule["originRequest"] = {"matchSNItoHost": True}
        rules.append(rule)
    return [*rules, dict(_CATCH_ALL)]


def cloudflared(plan: Plan, tunnel_id: str | None = None) -> str:
    """cloudflared's config.yml; without `tunnel_id` only its ingress, to be copied into an existing one."""
    tunnel = {"tunnel": tunnel_id, "credentials-file": f"/etc/cloudflared/{tunnel_id}.json"} if tunnel_id else {}
    return as_yaml({**tunnel, "ingress": ingress(plan)})


def remote_configuration(plan: Plan) -> dict[str, Any]:
    """The configuration of a remotely managed tunnel for Cloudflare's API. It replaces the existing one: merge
    first."""
    return {"config": {"ingress": ingress(plan)}}


def dns_records(plan: Plan, tunnel_id: str) -> list[dict[str, Any]]:
    """The DNS records that lead each host to the tunnel, for Cloudflare's API."""
    return [
        {"type": "CNAME", "name": router.host, "content": f"{tunnel_id}.cfargotunnel.com", "proxied": True}
        for router in plan.routers
    ]


def dockflare_labels(plan: Plan, app_id: str | None, prefix: str = "dockflare") -> dict[str, str]:
    """DockFlare's labels for an app's hosts (None: our own). `cloudflare.tunnel` is the prefix of its old versions."""
    labels = {f"{prefix}.enable": "true"}
    if plan.routing.traefik_url.startswith("https:"):
        labels[f"{prefix}.match_sni_to_host"] = "true"
    for number, router in enumerate(plan.of(app_id)):
        labels[f"{prefix}.{number}.hostname"] = router.host
        labels[f"{prefix}.{number}.service"] = plan.routing.traefik_url
    return labels


def ingress_problems(rules: object) -> list[str]:
    """What cloudflared 2026.8 would refuse in an ingress, one line per problem with the rule's number.

    Source: validateIngress and validateHostname in cloudflared's ingress/ingress.go, and a comparison with the program
    itself (tests/routing/test_routing_cloudflared.py).
    """
    if not isinstance(rules, list) or not rules:
        return ["ingress: expected a list with at least the catch-all rule"]
    return [
        f"ingress[{number}]: {problem}"
        for number, rule in enumerate(rules)
        for problem in _rule_problems(rule, last=number == len(rules) - 1)
    ]


def _rule_problems(rule: object, *, last: bool) -> Iterator[str]:
    if not isinstance(rule, Mapping):
        yield "expected an object"
        return
    hostname, path, service = rule.get("hostname") or "", rule.get("path") or "", rule.get("service")
    if not isinstance(hostname, str) or not isinstance(path, str) or not isinstance(service, str):
        yield "expected texts as hostname, path and service"
        return
    catch_all = hostname in ("", "*") and not path
    if last and not catch_all:
        yield "the last rule must match every request: no hostname and no path"
    if catch_all and not last:
        yield "matches every request, so the rules after it would never be used"
    if ":" in hostname:
        yield "a hostname has no port"
    if "*" in hostname[1:]:
        yield "a hostname has one * at most, as its first character"
    if not _is_go_expression(path):
        yield "the path is no regular expression of Go's"
    yield from _service_problems(service)
    access = (rule.get("originRequest") or {}).get("access") or {}
    if access.get("audTag") and not access.get("teamName"):
        yield "access.audTag needs access.teamName"


def _is_go_expression(text: str) -> bool:
    """Python's syntax without what Go lacks, and with what only Go has: \\p{L}, \\z and [[:alpha:]]."""
    bare = text.replace("\\\\", "-")
    counts = [int(count) for pair in re.findall(r"\{([0-9]+),?([0-9]*)\}", bare) for count in pair if count]
    if _PYTHON_ONLY_SYNTAX.search(bare) or max(counts, default=0) > _MAX_REPETITIONS:
        return False
    try:
        re.compile(_GO_ONLY_SYNTAX.sub("a", bare))
    except re.error:
        return False
    return True


def _service_problems(service: str) -> Iterator[str]:
    if service in _SPECIAL_SERVICES or service.startswith(("unix:", "unix+tls:")) or _STATUS.fullmatch(service):
        return
    try:
        url = urlsplit(service)
        _ = url.port
    except ValueError:
        url = urlsplit("")
    if not url.scheme or not url.netloc:
        yield "the service is no URL with a scheme and a host"
    elif url.path:
        yield "the service's URL has a path"
