"""What apps.json says to Traefik: traffic by tier, upstreams by tier, and which Traefik it is."""

# ruff: noqa: E501  # a row of a table is one line, however long the message
from __future__ import annotations

import json
from typing import Any

import pytest
from test_catalog_refusals import document, problems, put

from gateway.catalog import parse
from gateway.catalog.model import App, Rate, Traffic

COUNT = "expected a whole number from 1 to 1000000"
LABELS = 'labels cannot tell tiers apart; set routing.provider to "file" or "http", not "docker"'


def app(**changes: object) -> App:
    tree = document()
    tree["apps"][0] |= changes
    return parse(json.dumps(tree).encode()).apps["a"]


def tier(traffic: object) -> Traffic | None:
    tree = document()
    tree["apps"][0]["tiers"][1]["traffic"] = traffic
    return parse(json.dumps(tree).encode()).apps["a"].tiers[1].traffic


def test_an_upstream_is_one_or_one_for_each_of_some_tiers() -> None:
    one = app(upstream="http://a:8080/")
    assert (one.upstream, one.tier_upstreams) == ("http://a:8080", ())
    many = app(upstream={"pro": "http://fast:8080/", "default": "http://a:8080"})
    assert (many.upstream, many.tier_upstreams) == ("http://a:8080", (("pro", "http://fast:8080"),))


def test_a_tier_without_traffic_has_no_limit() -> None:
    assert tier(None) is None


@pytest.mark.parametrize(
    ("rate", "read"),
    [
        ({"average": 10}, Rate(10, "1s", 20)),
        ({"average": 10, "burst": 7}, Rate(10, "1s", 7)),
        ({"average": 60, "period": "1m"}, Rate(60, "1m", 2)),
        ({"average": 5, "period": "1h"}, Rate(5, "1h", 1)),
    ],
)
def test_a_burst_that_is_left_out_is_what_two_seconds_bring(rate: dict[str, Any], read: Rate) -> None:
    assert tier({"rate": rate}) == Traffic(read, None)
    assert tier({"rate": rate, "in_flight": 3}) == Traffic(read, 3)


REFUSED: list[tuple[str, object, str]] = [
    ("apps.0.tiers.1.traffic", {}, "expected rate, in_flight or both, got neither"),
    ("apps.0.tiers.1.traffic", {"rate": None}, "expected rate, in_flight or both, got neither"),
    ("apps.0.tiers.1.traffic", {"rat": {}, "in_flight": 1}, 'unknown key; did you mean "rate"?'),
    ("apps.0.tiers.1.traffic", {"in_flight": 0}, f"{COUNT}, got 0"),
    ("apps.0.tiers.1.traffic", {"in_flight": True}, f"{COUNT}, got true"),
    ("apps.0.tiers.1.traffic", {"rate": {}}, "required, but missing"),
    ("apps.0.tiers.1.traffic", {"rate": {"average": 1.5}}, f"{COUNT}, got 1.5"),
    ("apps.0.tiers.1.traffic", {"rate": {"average": 1, "burst": 0}}, f"{COUNT}, got 0"),
    ("apps.0.tiers.1.traffic", {"rate": {"average": 1, "period": "1d"}}, 'expected a duration, such as "1s", "5m" or "1h", got "1d"'),
    ("apps.0.tiers.1.traffic", {"rate": {"average": 1, "period": "0s"}}, 'expected a duration, such as "1s", "5m" or "1h", got "0s"'),
    ("apps.0.upstream", {}, "required, but missing"),
    ("apps.0.upstream", {"pro": "http://a"}, "required, but missing"),
    ("apps.0.upstream", {"default": "http://a", "por": "http://a"}, 'expected a tier of this app or "default", got "por"; did you mean "pro"?'),
    ("apps.0.upstream", {"default": "http://a", "pro": "http://a/x"}, 'expected the URL of a service, got "http://a/x": no path'),
    ("apps.0.upstream", {"default": "http://a", "pro": "http://u:secret@a"}, "expected the URL of a service, got a text with // and @, not shown as it may hold a password: no user name or password"),
    ("apps.0.upstream", {"default": "http://a`)", "pro": "http://b"}, 'expected the URL of a service, got "http://a`)": a back-tick ends a text in Traefik\'s rules'),
    ("apps.0.upstream", {"default": 5}, 'expected the URL of a service, such as "http://open-webui:8080", got an object'),
    ("routing", {"provider": "kubernetes"}, 'expected one of "file", "http", "docker", "swarm", got "kubernetes"'),
    ("routing", {"traefik_version": "3.7"}, 'expected a version of Traefik, such as "3.7.15", got "3.7": three numbers with dots between them'),
    ("routing", {"traefik_version": "3.7.12"}, 'expected a version of Traefik, such as "3.7.15", got "3.7.12": 3.7.13 at least: older versions can be made to bypass the gate'),
    ("routing", {"traefik_version": "2.11.57"}, 'expected a version of Traefik, such as "3.7.15", got "2.11.57": 3.7.13 at least: older versions can be made to bypass the gate'),
    ("routing", {"traefik_version": "4.0.0"}, 'expected a version of Traefik, such as "3.7.15", got "4.0.0": Traefik 4 is not supported'),
    ("routing", {"trusted_ips": ["cloudflared"]}, 'expected an address or network, such as "172.20.0.5/32", got "cloudflared": an IP address, or a network whose host bits are 0'),
    ("routing", {"trusted_ips": ["172.20.0.5/16"]}, 'expected an address or network, such as "172.20.0.5/32", got "172.20.0.5/16": an IP address, or a network whose host bits are 0'),
    ("routing", {"trusted_ips": ["0.0.0.0/0"]}, 'expected an address or network, such as "172.20.0.5/32", got "0.0.0.0/0": /16 at least: every address in it could claim any user'),
    ("routing", {"trusted_ips": ["::/0"]}, 'expected an address or network, such as "172.20.0.5/32", got "::/0": /48 at least: every address in it could claim any user'),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message"), REFUSED, ids=lambda item: repr(item)[:40])
def test_one_wrong_value_is_one_line(where: str, value: object, message: str) -> None:
    lines = put(where, value)
    assert len(lines) == 1, lines
    assert lines[0].endswith(f": {message}"), lines


@pytest.mark.parametrize("version", ["3.7.13", "3.7.15", "3.10.0", "3.8.2"])
def test_a_traefik_that_is_new_enough(version: str) -> None:
    assert parse(json.dumps({"apps": [], "routing": {"traefik_version": version}}).encode())


def test_labels_refuse_traffic_by_tier_by_its_place() -> None:
    tree = document("a", "b")
    tree["routing"] = {"provider": "docker"}
    tree["apps"][0]["upstream"] = {"default": "http://a", "pro": "http://b"}
    tree["apps"][1]["tiers"][1]["traffic"] = {"in_flight": 1}
    assert problems(tree) == [
        f"apps.json: apps[0].upstream: {LABELS}",
        f"apps.json: apps[1].tiers[1].traffic: {LABELS}",
    ]
