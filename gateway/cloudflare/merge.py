"""The apps' rules merged into a tunnel's configuration, and the difference. Pure.

cloudflared takes the first rule that matches, and `*.example.com` matches any depth. So the apps' rules come first:
each names one host exactly, takes no other host, and no wildcard can lead an app's host past Traefik.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.catalog.values import ascii_host

Rule = Mapping[str, Any]
Config = Mapping[str, Any]

_CATCH_ALL = {"service": "http_status:404"}


def merged(current: Config, expected_rules: Sequence[Rule], our_hosts: Iterable[str]) -> dict[str, Any]:
    """`current` with `wanted_rules` in place of every rule for one of their hosts, with any path or service.

    A replaced rule's `originRequest` is kept, above all Access, which requires a sign-in: for a whole host in the new
    rule, for a path in a rule of its own with the new rule's service.
    Rules for other hosts keep their place, and everything besides the rules stays. An existing catch-all stays last;
    if there is none, the wanted one, or 404, is added. Idempotent.
    """
    present = [rule for rule in current.get("ingress") or () if not _is_catch_all(rule)]
    new = [dict(rule) for rule in expected_rules if not _is_catch_all(rule)]
    ours = {_host(rule) for rule in new} | {_host({"hostname": host}) for host in our_hosts}
    expected = [
        kept for rule in new for kept in _with_options(rule, [each for each in present if _host(each) == _host(rule)])
    ]
    others = [dict(rule) for rule in current.get("ingress") or () if _host(rule) not in ours]
    if not others or not _is_catch_all(others[-1]):
        others.append(dict(next(filter(_is_catch_all, expected_rules), _CATCH_ALL)))
    return {**current, "ingress": [*expected, *others]}


def _with_options(expected: Rule, present: Sequence[Rule]) -> list[dict[str, Any]]:
    """The rule for a host, with the options of those that it replaces. The first rule for the whole host hides all
    later ones."""
    rules: list[dict[str, Any]] = []
    for rule in present:
        options = {**(rule.get("originRequest") or {}), **(expected.get("originRequest") or {})}
        if not rule.get("path"):
            return [*rules, {**expected, "originRequest": options} if options else dict(expected)]
        if rule.get("originRequest"):
            rules.append({**expected, "path": rule["path"], "originRequest": options})
    return [*rules, dict(expected)]


def changes(current: Config, expected: Config) -> list[str]:
    """The rules of both, one a line after `+`, `-` or a space; empty if they are equal and in the same order.

    Cloudflare returns rules with empty fields that were not sent; those are no difference.
    """
    before, after = _lines(current), _lines(expected)
    if before == after:
        return []
    # The first three lines name the files and the place; with all lines as context there is one place.
    return list(difflib.unified_diff(before, after, lineterm="", n=len(before) + len(after)))[3:]


def _is_catch_all(rule: Rule) -> bool:
    return (rule.get("hostname") or "*") == "*" and not rule.get("path")


def _host(rule: Rule) -> str:
    """The rule's host in one spelling: cloudflared matches a Unicode host by its punycode form, too."""
    hostname = str(rule.get("hostname") or "")
    try:
        return ascii_host(hostname)
    except ValueError:
        return hostname


def _lines(config: Config) -> list[str]:
    return [_line(rule) for rule in config.get("ingress") or ()]


def _line(rule: Rule) -> str:
    path = f" {rule['path']}" if rule.get("path") else ""
    options = rule.get("originRequest")
    shown = f" {json.dumps(options, sort_keys=True, ensure_ascii=False)}" if options else ""
    return f"{rule.get('hostname') or '*'}{path} → {rule.get('service')}{shown}"
