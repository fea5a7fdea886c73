"""What Cloudflare takes as a tunnel's configuration: the rules that cloudflared itself would load."""

from __future__ import annotations

import json
import re

from gateway.sandbox.cloudflare.refusal import Refusal

_BAD_CONFIGURATION = 1056
_NOT_LAST = "The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)"
_SERVICE = re.compile(
    r"https?://[^/]+|http_status:[1-9]\d\d|hello_world|bastion|socks-proxy|(tcp|ssh|rdp)://[^/]+|unix:.+"
)
_SECONDS = ("connectTimeout", "tlsTimeout", "tcpKeepAlive", "keepAliveTimeout")


def read_configuration(raw: bytes) -> dict[str, object]:
    """The `config` of a PUT's body. Raises `Refusal` where it is none."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refusal(400, _BAD_CONFIGURATION, "Bad Configuration: the body is not JSON") from None
    config = body.get("config") if isinstance(body, dict) else None
    if not isinstance(config, dict):
        raise _bad("config is required")
    rules = config.get("ingress")
    if not isinstance(rules, list) or not rules:
        raise _bad("an ingress with a catch-all rule is required")
    for number, rule in enumerate(rules):
        _check(rule, last=number == len(rules) - 1)
    _check_seconds(config.get("originRequest"))
    return config


def _check(rule: object, *, last: bool) -> None:
    if not isinstance(rule, dict) or not isinstance(rule.get("service"), str):
        raise _bad("each ingress rule needs a service")
    hostname, path = rule.get("hostname") or "", rule.get("path") or ""
    catch_all = hostname in ("", "*") and not path
    if last and not catch_all:
        raise _bad(_NOT_LAST)
    if catch_all and not last:
        raise _bad("Rule matches all hostnames, so the rules after it will never be triggered")
    if ":" in hostname:
        raise _bad("Hostname cannot contain a port")
    if not _SERVICE.fullmatch(rule["service"]):
        raise _bad(f"{rule['service']} is an invalid address, or has a path")
    _check_seconds(rule.get("originRequest"))


def _check_seconds(options: object) -> None:
    """In JSON a duration is a whole number of seconds; "30s" is for cloudflared's own file."""
    for name in _SECONDS:
        value = options.get(name) if isinstance(options, dict) else None
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise _bad(f"originRequest.{name} must be a whole number of seconds")


def _bad(reason: str) -> Refusal:
    return Refusal(400, _BAD_CONFIGURATION, f"Bad Configuration: Validation failed: {reason}")
