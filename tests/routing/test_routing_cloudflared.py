"""What we say of a tunnel's rules is what cloudflared says of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.found import find

from gateway.routing import ingress_problems

CATCH_ALL = {"service": "http_status:404"}
HOSTS = ["", "*", "a.example.com", "*.example.com", "a.*.com", "*a.com", "a.example.com:80", "**.x", "A.Example.com"]
# Texts that Go's regexp takes, and those that it refuses though Python takes some of them.
GOOD_PATHS = ["", "^/api", "/x", "(?i)x", "\\p{L}", "\\d+", "[[:alpha:]]", "\\\\Z", "\\z", "x{1000}"]
BAD_PATHS = ["[", "(?P<a>x", "(?<=a)b", "(?=x)", "(?!x)", "\\Z", "a*+", "(?P<n>x)(?P=n)", "(x)\\1", "x{1001}", "(?>x)"]
GOOD_SERVICES = [
    "http://traefik:80", "https://traefik", "http_status:404", "http_status:999", "hello_world", "hello-world",
    "bastion", "socks-proxy", "unix:/x.sock", "tcp://x:1", "ssh://h:22", "http://[::1]:80", "http://x?y",
]  # fmt: skip
BAD_SERVICES = [
    "", "http://traefik/x", "http_status:99", "http_status:1000", "http_status:abc", "http://", "//x", "http://x:port",
    "http:/x",
]  # fmt: skip
ACCESS: list[dict[str, Any]] = [
    {"required": True, "audTag": ["x"]},
    {"required": True, "teamName": "t", "audTag": ["x"]},
]
RULES: list[list[dict[str, Any]]] = [
    *([{"hostname": host, "service": "http://x"}, CATCH_ALL] for host in HOSTS),
    *([{"hostname": "a.b", "path": path, "service": "http://x"}, CATCH_ALL] for path in GOOD_PATHS),
    *([{"hostname": "a.b", "path": path, "service": "http://x"}, CATCH_ALL] for path in BAD_PATHS),
    *([{"hostname": "a.b", "service": service}, CATCH_ALL] for service in (*GOOD_SERVICES, *BAD_SERVICES)),
    *([{"hostname": "a.b", "service": "http://x", "originRequest": {"access": each}}, CATCH_ALL] for each in ACCESS),
    [CATCH_ALL, CATCH_ALL], [{"hostname": "a.b", "service": "http://x"}], [{"hostname": "a.b"}, CATCH_ALL],
    [{"hostname": "*", "path": "/x", "service": "http://x"}, CATCH_ALL], [],
]  # fmt: skip


def test_cloudflared_takes_what_we_find_nothing_wrong_with_and_nothing_else(tmp_path: Path) -> None:
    program = find("cloudflared")
    if program is None:  # it is in no package index that the other tools come from, so nobody is required to have it
        pytest.skip("cloudflared not found; to get it: go build ./cmd/cloudflared in github.com/cloudflare/cloudflared")
    file = tmp_path / "config.yml"
    for rules in RULES:
        file.write_text(yaml.safe_dump({"ingress": rules}), encoding="utf-8")
        command = [program, "tunnel", "--config", file, "ingress", "validate"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode == 0) is (ingress_problems(rules) == []), (rules, done.stdout, done.stderr)


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_a_path_in_gos_syntax_is_accepted(path: str) -> None:
    assert ingress_problems([{"hostname": "a.b", "path": path, "service": "http://x"}, CATCH_ALL]) == []


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_go_does_not_read_is_refused(path: str) -> None:
    rules = [{"hostname": "a.b", "path": path, "service": "http://x"}, CATCH_ALL]
    assert ingress_problems(rules) == ["ingress[0]: the path is no regular expression of Go's"]


@pytest.mark.parametrize(
    ("service", "good"), [*((each, True) for each in GOOD_SERVICES), *((each, False) for each in BAD_SERVICES)]
)
def test_a_service_is_what_cloudflared_can_reach(service: str, good: bool) -> None:
    assert (ingress_problems([{"hostname": "a.b", "service": service}, CATCH_ALL]) == []) is good
