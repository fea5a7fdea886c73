"""`skpay gate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from gateway.cli.environment import settings
from gateway.cli.output import as_json, bad, good, instant, json_option, say
from gateway.cli.server import NoServerError, ask, server_needed

_STDIN = "-"


@click.command()
@click.argument("app_id", metavar="APP")
@click.option("--url", required=True, help="The address asked for, such as https://chat.example.com/api/x.")
@click.option("-X", "--method", default="GET", show_default=True, help="The request's method.")
@click.option("-b", "--cookie", "cookies", multiple=True, help="'name=value'; - reads them from standard input.")
@click.option("-H", "--header", "headers", multiple=True, help="'Name: value'; - reads lines of them from there.")
@json_option
def explain(
    app_id: str, url: str, method: str, cookies: Sequence[str], headers: Sequence[str], wants_json: bool
) -> None:
    """Explain the gate's answer to a request to APP, without counting it.

    Other users of this machine can see the arguments of a command: give a real cookie or key on standard input.
    """
    if _STDIN in cookies and _STDIN in headers:
        raise click.UsageError("Standard input can be read once: for --cookie or for --header.")
    body = {"app_id": app_id, "url": url, "method": method, "headers": _header_lines(cookies, headers)}
    found = settings()
    try:
        response = ask(found, "POST", "/admin/gate/explain", body)
    except NoServerError:
        raise server_needed(found) from None
    if wants_json:
        as_json(response)
    else:
        _print(response)


def _header_lines(cookies: Sequence[str], headers: Sequence[str]) -> list[dict[str, str]]:
    """As a browser sends them: all cookies in one line."""
    lines = []
    for line in _or_standard_input(headers):
        name, colon, value = line.partition(":")
        if not colon:
            # Not quoted: it may be a key.
            raise click.BadParameter("expected 'Name: value'", param_hint="--header")
        lines.append({"name": name.strip(), "value": value.strip()})
    sent = "; ".join(_or_standard_input(cookies))
    return [*lines, {"name": "Cookie", "value": sent}] if sent else lines


def _or_standard_input(values: Sequence[str]) -> list[str]:
    found: list[str] = []
    for value in values:
        found += sys.stdin.read().splitlines() if value == _STDIN else [value]
    return [value for value in found if value.strip()]


def _print(response: Any) -> None:
    app, host, path = response["app"], response["host"], response["path"]
    _step(f"app       {app['app_id']} ({app['name']}) at {', '.join(app['hosts'])}{_special(app)}")
    _step(f"host      {host['asked']}" + ("" if host["ours"] else f" is not one of {app['app_id']}'s"), host["ours"])
    _step(f"path      {path['asked']} {_read_as(path)}")
    _print_identity(response["identity"])
    _print_tier(app["app_id"], response["identity"]["user_id"], response["tier"])
    for rule in response["rules"]:
        _step(f"rule      {_rule(rule)}: {rule['verdict']}", rule["verdict"] in ("passes", "opens"))
    if not response["rules"]:
        _step("rule      no route of apps.json covers this path")
    _step(f"outcome   {response['outcome']}, as counted in skpay_gate_requests_total")
    _step(f"answer    {response['answer']['status']}")
    for name, value in (*response["answer"]["headers"], *(response["answer"]["body"] or {}).items()):
        _step(f"          {name}: {value}")


def _step(line: str, well: bool | None = None) -> None:
    """Print a line; with a mark if `well` is given."""
    if well is None:
        say(f"  {line}")
    elif well:
        good(line)
    else:
        bad(line)


def _special(app: Any) -> str:
    notes = [] if app["enforce"] else ["tags only (enforce: false)"]
    notes += ["sign-in needed everywhere (anonymous: refuse)"] if app["anonymous"] == "refuse" else []
    return f"; {', '.join(notes)}" if notes else ""


def _read_as(path: Any) -> str:
    if path["readings"] is None:
        return "can be read in too many ways: every rule covers it, and no public one"
    if path["literal"] is None:
        return f"can be read in more than one way, and no public rule covers it: {', '.join(path['readings'])}"
    return f"is read as {path['literal']}"


def _print_identity(identity: Any) -> None:
    place = (identity["from"] or "").replace("cookie:", "cookie ")
    if identity["user_id"] is not None:
        until = f", valid until {instant(identity['until'])} UTC" if identity["until"] else ""
        _step(f"identity  {identity['user_id']}, by {place}{until}", True)
    elif identity["from"] is None:
        _step("identity  none: the request has no credential of a kind that this app accepts")
    else:
        _step(f"identity  {place} does not verify: {identity['code']}: {identity['reason']}", False)


def _print_tier(app_id: str, user_id: str | None, tier: Any) -> None:
    in_store = tier["in_store"]
    where = "in the gate's table" if tier["in_table"] else "the default, as the user is not in the gate's table"
    well: bool | None = None
    if user_id is None:
        where = "as for every request without a user"
    elif tier["store_failed"]:
        where, well = f"{where}; the store does not answer", False
    elif in_store is None:
        where = f"{where}; the store has no tier of this user"
    elif in_store["tier"] != tier["used"]:
        where, well = f"{where}, but the store says {in_store['tier']}: skpay users refresh {app_id} {user_id}", False
    else:
        since = f"since {instant(in_store['changed_at'])} UTC"
        where, well = f"{where} and in the store, {since}: {in_store['reason']} ({in_store['source']})", True
    _step(f"tier      {tier['used']}, {where}", well)
    if tier["changes_at"] is not None:
        _step(f"          changes at {instant(tier['changes_at'])} UTC")


def _rule(rule: Any) -> str:
    wants = "public" if rule["public"] else ""
    wants += f"needs {rule['min_tier']}" if rule["min_tier"] else ""
    wants += f"{' and' if wants else 'needs'} {', '.join(rule['features'])}" if rule["features"] else ""
    methods = f"{', '.join(rule['methods'])} " if rule["methods"] else ""
    return f"{methods}{rule['path']} {wants}".rstrip()
