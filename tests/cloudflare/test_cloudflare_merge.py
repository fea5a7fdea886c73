"""Our rules among other people's: theirs untouched, ours first, the catch-all last, and twice is once."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from cloudflare_harness import CATCH_ALL, NOT_OURS, THEIRS, WILDCARD
from hypothesis import given
from hypothesis import strategies as st

from gateway.cloudflare import changes, merged
from gateway.routing import ingress_problems

CHAT, PAY = "chat.example.com", "pay.example.com"
OURS = [{"hostname": CHAT, "service": "http://traefik:80"}, {"hostname": PAY, "service": "http://traefik:80"}]
WANTED = [*OURS, {"service": "http_status:404"}]


def test_rules_of_others_stay_as_they_are_and_ours_come_first() -> None:
    assert merged(THEIRS, WANTED, [CHAT, PAY])["ingress"] == [*OURS, NOT_OURS, WILDCARD, CATCH_ALL]


def test_everything_besides_the_rules_stays() -> None:
    config = merged({**THEIRS, "something-new": [1]}, WANTED, [CHAT, PAY])
    assert config["originRequest"] == {"keepAliveTimeout": 30}
    assert config["warp-routing"] == {"enabled": True}
    assert config["something-new"] == [1]


def test_the_configuration_that_was_read_is_not_touched() -> None:
    before = copy.deepcopy(THEIRS)
    merged(THEIRS, WANTED, [CHAT, PAY])
    assert before == THEIRS


def test_a_tunnel_without_a_catch_all_gets_ours() -> None:
    assert merged({}, WANTED, [CHAT, PAY])["ingress"] == WANTED
    assert merged({"ingress": None}, OURS, [CHAT, PAY])["ingress"] == WANTED
    assert merged({"ingress": [NOT_OURS]}, WANTED, [CHAT])["ingress"] == [
        *OURS,
        NOT_OURS,
        {"service": "http_status:404"},
    ]


def test_a_wildcard_before_our_rule_no_longer_takes_our_host() -> None:
    """cloudflared takes the first rule that matches: a wildcard above ours leads to a backend without the gate."""
    current = {"ingress": [WILDCARD, *OURS, CATCH_ALL]}
    assert merged(current, WANTED, [CHAT, PAY])["ingress"] == [*OURS, WILDCARD, CATCH_ALL]


@pytest.mark.parametrize(
    "rule",
    [
        {"hostname": CHAT, "service": "http://open-webui:8080"},
        {"hostname": CHAT, "path": "^/static", "service": "http://open-webui:8080"},
        {"hostname": "Chat.Example.COM", "service": "http://open-webui:8080"},
    ],
)
def test_a_rule_that_leads_our_host_past_traefik_is_replaced(rule: dict[str, Any]) -> None:
    config = merged({"ingress": [rule, NOT_OURS, CATCH_ALL]}, WANTED, [CHAT, PAY])
    assert config["ingress"] == [*OURS, NOT_OURS, CATCH_ALL]


ACCESS = {"access": {"required": True, "teamName": "example", "audTag": ["aud"]}}


def test_access_still_protects_what_it_protected() -> None:
    options = {**ACCESS, "noTLSVerify": True}
    current = {
        "ingress": [{"hostname": CHAT, "service": "http://open-webui:8080", "originRequest": options}, CATCH_ALL]
    }
    once = merged(current, WANTED, [CHAT, PAY])
    assert once["ingress"] == [{**OURS[0], "originRequest": options}, OURS[1], CATCH_ALL]
    assert merged(once, WANTED, [CHAT, PAY]) == once
    assert f"+{CHAT} → http://traefik:80 {json.dumps(options, sort_keys=True)}" in changes(current, once)


def test_our_own_option_wins_over_the_same_one() -> None:
    ours = {**OURS[0], "originRequest": {"matchSNItoHost": True}}
    there = {**OURS[0], "originRequest": {"matchSNItoHost": False, **ACCESS}}
    (rule, _) = merged({"ingress": [there, CATCH_ALL]}, [ours], [CHAT])["ingress"]
    assert rule["originRequest"] == {"matchSNItoHost": True, **ACCESS}


def test_what_access_guards_below_a_path_it_guards_there_and_leads_to_traefik() -> None:
    admin = {"hostname": CHAT, "path": "^/admin", "service": "http://open-webui:8080", "originRequest": ACCESS}
    static = {"hostname": CHAT, "path": "^/static", "service": "http://open-webui:8080"}
    whole = {"hostname": CHAT, "service": "http://open-webui:8080"}
    hidden = {**admin, "path": "^/hidden"}
    once = merged({"ingress": [static, admin, whole, hidden, CATCH_ALL]}, WANTED, [CHAT, PAY])
    assert once["ingress"] == [{**OURS[0], "path": "^/admin", "originRequest": ACCESS}, *OURS, CATCH_ALL]
    assert merged(once, WANTED, [CHAT, PAY]) == once


def test_a_host_in_unicode_is_the_same_host() -> None:
    """cloudflared adds the punycode twin of a host in Unicode by itself."""
    ours = {"hostname": "xn--bcher-kva.example", "service": "http://traefik:80"}
    current = {"ingress": [{"hostname": "bücher.example", "service": "http://shop:80"}, CATCH_ALL]}
    assert merged(current, [ours], ["xn--bcher-kva.example"])["ingress"] == [ours, CATCH_ALL]


def test_a_host_that_is_no_longer_configured_is_removed() -> None:
    old = {"hostname": "old.example.com", "service": "http://traefik:80"}
    config = merged({"ingress": [old, CATCH_ALL]}, WANTED, [CHAT, PAY, "old.example.com"])
    assert config["ingress"] == [*OURS, CATCH_ALL]


def test_changes_show_every_rule_and_mark_what_changes() -> None:
    assert changes(THEIRS, merged(THEIRS, WANTED, [CHAT, PAY])) == [
        "+chat.example.com → http://traefik:80",
        "+pay.example.com → http://traefik:80",
        ' wiki.example.com → http://wiki:3000 {"connectTimeout": 10}',
        " *.example.com → http://old-proxy:80",
        " * → http_status:503",
    ]


def test_a_rule_in_another_place_is_a_change() -> None:
    assert changes({"ingress": [NOT_OURS, WILDCARD, CATCH_ALL]}, {"ingress": [WILDCARD, NOT_OURS, CATCH_ALL]})


def test_empty_fields_that_cloudflare_adds_are_no_change() -> None:
    kept = {"ingress": [{**rule, "path": "", "originRequest": {}} for rule in WANTED], "warp-routing": {}}
    assert changes(kept, {"ingress": WANTED}) == []


_HOSTS = st.sampled_from([CHAT, PAY, "CHAT.example.com", "a.example.com", "*.example.com", "b.example", "", "*"])
_PATHS = st.sampled_from(["", "^/api", "/static"])
_RULES = st.builds(
    lambda hostname, path, service: {"hostname": hostname, "path": path, "service": service},
    _HOSTS, _PATHS, st.sampled_from(["http://a:80", "http://b:80", "http_status:404"]),
)  # fmt: skip
_CONFIGS = st.builds(
    lambda rules, more: {"ingress": rules, **more},
    st.lists(_RULES, max_size=8),
    st.dictionaries(st.sampled_from(["originRequest", "warp-routing", "x"]), st.integers()),
)
_WANTED = st.lists(st.sampled_from(OURS), unique_by=lambda rule: rule["hostname"]).map(
    lambda rules: [*rules, WANTED[-1]]
)


@given(_CONFIGS, _WANTED)
def test_the_merge_is_idempotent(current: dict[str, Any], desired: list[dict[str, Any]]) -> None:
    once = merged(current, desired, [CHAT, PAY])
    assert merged(once, desired, [CHAT, PAY]) == once
    assert changes(once, merged(once, desired, [CHAT, PAY])) == []


@given(_CONFIGS, _WANTED)
def test_rules_of_others_lose_nothing(current: dict[str, Any], desired: list[dict[str, Any]]) -> None:
    config = merged(current, desired, [CHAT, PAY])
    others = [rule for rule in current["ingress"] if rule["hostname"].lower() not in (CHAT, PAY)]
    found = [rule for rule in config["ingress"] if str(rule.get("hostname", "")).lower() not in (CHAT, PAY)]
    assert found[: len(others)] == others
    assert {key: value for key, value in config.items() if key != "ingress"} == {
        key: value for key, value in current.items() if key != "ingress"
    }


@given(_CONFIGS, _WANTED)
def test_our_hosts_lead_to_traefik_only_and_the_last_rule_matches_all(
    current: dict[str, Any], desired: list[dict[str, Any]]
) -> None:
    rules = merged(current, desired, [CHAT, PAY])["ingress"]
    ours = [rule for rule in rules if str(rule.get("hostname", "")).lower() in (CHAT, PAY)]
    assert ours == desired[:-1] == rules[: len(ours)]
    assert (rules[-1].get("hostname") or "*", rules[-1].get("path") or "") == ("*", "")


_OPTIONS = st.sampled_from([{}, None, ACCESS, {"connectTimeout": 10}, {"noTLSVerify": True, **ACCESS}])
_RULES_WITH_OPTIONS = st.lists(st.builds(lambda rule, options: {**rule, "originRequest": options}, _RULES, _OPTIONS))


def first(rules: list[dict[str, Any]], host: str, path: str) -> dict[str, Any]:
    """The rule that cloudflared takes."""
    for rule in rules:
        fits = str(rule.get("hostname") or "*").lower() in ("*", host)
        if fits and re.search(rule.get("path") or "", path):
            return rule
    return {}


@given(_RULES_WITH_OPTIONS, st.sampled_from([CHAT, PAY]), st.sampled_from(["/", "/api/x", "/static/x"]))
def test_no_request_for_our_hosts_loses_the_options_that_it_had(
    rules: list[dict[str, Any]], host: str, path: str
) -> None:
    before, after = (
        first(each, host, path) for each in (rules, merged({"ingress": rules}, WANTED, [CHAT, PAY])["ingress"])
    )
    assert after["service"] == "http://traefik:80"
    if str(before.get("hostname")).lower() == host:
        kept = after.get("originRequest") or {}
        assert {**kept, **(before.get("originRequest") or {})} == kept


@given(_CONFIGS, _WANTED)
def test_what_cloudflared_took_it_takes_with_ours(current: dict[str, Any], desired: list[dict[str, Any]]) -> None:
    if not ingress_problems(current["ingress"]):
        assert ingress_problems(merged(current, desired, [CHAT, PAY])["ingress"]) == []
