"""`skpay tunnel plan` and `apply` as an operator runs them, against the sandbox."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from cloudflare_harness import (
    ACCOUNT_ID,
    CATCH_ALL,
    NOT_OURS,
    THEIRS,
    TOKEN,
    TUNNEL_ID,
    WILDCARD,
    ZONE_ID,
    CloudflareHarness,
)
from cloudflare_harness import open_place as open_cloudflare

from gateway.catalog import parse
from gateway.cli import main

ROOT = Path(__file__).parents[2]
APPS = ROOT / "apps.json"
TRAEFIK = parse(APPS.read_bytes(), "apps.json").routing.traefik_url
ALL = (
    "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_TOKEN_FILE", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_TUNNEL_ID",
    "CLOUDFLARE_API_BASE", "PUBLIC_URL", "APPS_FILE",
)  # fmt: skip
Skpay = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, str]]]
A_RECORD = {"type": "A", "content": "203.0.113.9", "proxied": True}
OURS = [{"hostname": host, "service": TRAEFIK} for host in ("chat.example.com", "pay.example.com")]


def _record(host: str, *, proxied: bool = True) -> dict[str, object]:
    return {"type": "CNAME", "name": host, "content": f"{TUNNEL_ID}.cfargotunnel.com", "proxied": proxied}


@pytest.fixture
async def harness() -> AsyncIterator[CloudflareHarness]:
    async with open_cloudflare(THEIRS) as opened:
        yield opened


def _environment(harness: CloudflareHarness) -> dict[str, str]:
    return {
        "CLOUDFLARE_API_TOKEN": TOKEN,
        "CLOUDFLARE_ACCOUNT_ID": ACCOUNT_ID,
        "CLOUDFLARE_TUNNEL_ID": TUNNEL_ID,
        "CLOUDFLARE_API_BASE": harness.api_base,
        "PUBLIC_URL": "https://pay.example.com",
        "APPS_FILE": str(APPS),
    }


@pytest.fixture
def skpay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Skpay:
    """Run `skpay tunnel VERB` in this environment; its exit code and everything that it printed."""

    async def run(verb: str, environment: Mapping[str, str]) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            for name in (*ALL, *environment):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["skpay", "tunnel", *verb.split()])
            # The command has a loop of its own; the sandbox serves on ours meanwhile.
            code = await asyncio.to_thread(_main)
        printed = "".join(capsys.readouterr())
        assert TOKEN not in printed
        return code, printed

    return run


def _main() -> int:
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


async def test_plan_shows_what_to_do_with_exit_1_and_does_nothing(harness: CloudflareHarness, skpay: Skpay) -> None:
    code, printed = await skpay("plan", _environment(harness))
    assert code == 1
    assert printed.splitlines() == [
        f"+chat.example.com → {TRAEFIK}",
        f"+pay.example.com → {TRAEFIK}",
        ' wiki.example.com → http://wiki:3000 {"connectTimeout": 10}',
        " *.example.com → http://old-proxy:80",
        " * → http_status:503",
        f"+chat.example.com CNAME → {TUNNEL_ID}.cfargotunnel.com",
        f"+pay.example.com CNAME → {TUNNEL_ID}.cfargotunnel.com",
    ]
    assert harness.config() == THEIRS
    assert harness.sandbox.zones.records(ZONE_ID) == []
    assert {entry["method"] for entry in harness.sandbox.requests} == {"GET"}


async def test_apply_changes_it_once_and_then_there_is_nothing_to_do(harness: CloudflareHarness, skpay: Skpay) -> None:
    environment = _environment(harness)
    code, printed = await skpay("apply", environment)
    assert (code, printed.count("\n+"), "the tunnel is changed" in printed) == (0, 3, True)
    assert harness.config() == {**THEIRS, "ingress": [*OURS, NOT_OURS, WILDCARD, CATCH_ALL]}

    assert await skpay("plan", environment) == (0, "✓ the tunnel is up to date\n")
    assert await skpay("apply", environment) == (0, "✓ the tunnel is up to date\n")
    assert harness.sandbox.version(ACCOUNT_ID, TUNNEL_ID) == 1
    assert harness.sandbox.zones.records(ZONE_ID) == [_record("chat.example.com"), _record("pay.example.com")]


async def test_the_tunnel_leads_to_traefik_and_never_to_an_app(harness: CloudflareHarness, skpay: Skpay) -> None:
    await skpay("apply", _environment(harness))
    upstreams = {app["upstream"] for app in json.loads(APPS.read_text())["apps"]}
    config = harness.config()
    assert config is not None
    assert not upstreams & {rule["service"] for rule in config["ingress"]}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "rubbish"},
        {"kind": "reset", "times": 2},
        {"kind": "status", "status": 403},
    ],
)
async def test_nothing_is_written_where_nothing_could_be_read(
    harness: CloudflareHarness, skpay: Skpay, fault: dict[str, object]
) -> None:
    await harness.order(**fault)
    code, printed = await skpay("apply", _environment(harness))
    assert code == (2 if fault.get("status") == 403 else 3)
    assert printed.startswith("error: ")
    assert {entry["method"] for entry in harness.sandbox.requests} == {"GET"}
    assert harness.config() == THEIRS


async def test_a_record_that_is_there_is_left_and_one_past_cloudflare_is_led_through_it(skpay: Skpay) -> None:
    records = [
        _record("chat.example.com"),
        _record("pay.example.com", proxied=False),
        {**A_RECORD, "name": "wiki.example.com"},
    ]
    async with open_cloudflare(THEIRS, *records) as harness:
        code, printed = await skpay("plan", _environment(harness))
        assert code == 1
        assert [line for line in printed.splitlines() if "CNAME" in line] == [
            "+pay.example.com CNAME: through Cloudflare (proxied), not past it"
        ]
        assert (await skpay("apply", _environment(harness)))[0] == 0
        assert harness.sandbox.zones.records(ZONE_ID) == [records[0], _record("pay.example.com"), records[2]]
        assert (await skpay("plan", _environment(harness)))[0] == 0


@pytest.mark.parametrize(
    "record",
    [
        {"type": "A", "content": "203.0.113.5", "proxied": True},
        {"type": "AAAA", "content": "2001:db8::5", "proxied": False},
        {"type": "CNAME", "content": "elsewhere.example.net", "proxied": True},
        {"type": "CNAME", "content": "00000000-0000-0000-0000-000000000000.cfargotunnel.com", "proxied": True},
        {"type": "NS", "content": "ns.example.net", "proxied": False},
    ],
)
async def test_another_record_of_a_hosts_name_is_reported_and_nothing_is_changed(
    record: dict[str, object], skpay: Skpay
) -> None:
    theirs = {"name": "chat.example.com", **record}
    async with open_cloudflare(THEIRS, theirs) as harness:
        line = f"chat.example.com {record['type']} → {record['content']}"
        code, printed = await skpay("plan", _environment(harness))
        assert (code, f"{line} is in the way" in printed) == (1, True)
        code, printed = await skpay("apply", _environment(harness))
        assert (code, f"({line})" in printed) == (2, True)
        assert harness.config() == THEIRS
        assert harness.sandbox.zones.records(ZONE_ID) == [theirs]


async def test_without_dns_only_the_rules_are_compared(harness: CloudflareHarness, skpay: Skpay) -> None:
    code, printed = await skpay("apply --no-dns", _environment(harness))
    assert (code, "CNAME" in printed) == (0, False)
    assert harness.sandbox.zones.records(ZONE_ID) == []
    assert not any("zones" in str(entry["path"]) for entry in harness.sandbox.requests)
    assert (await skpay("plan --no-dns", _environment(harness)))[0] == 0


async def test_a_host_in_an_unreadable_zone_is_reported_and_is_no_change(
    harness: CloudflareHarness, skpay: Skpay
) -> None:
    environment = {**_environment(harness), "PUBLIC_URL": "https://pay.example.org"}
    code, printed = await skpay("apply", environment)
    message = f"pay.example.org: in no zone that the token may see; it needs a CNAME to {TUNNEL_ID}.cfargotunnel.com"
    assert (code, message in printed) == (0, True)
    assert await skpay("plan", environment) == (0, f"{message}\n✓ the tunnel is up to date\n")


async def test_a_token_without_rights_to_dns_is_reported_and_changes_nothing(
    harness: CloudflareHarness, skpay: Skpay
) -> None:
    await harness.order(kind="status", path="/zones", status=403, code=10000, message="Authentication error")
    code, printed = await skpay("apply", _environment(harness))
    assert (code, "Zone > DNS > Edit, or leave DNS out: --no-dns" in printed) == (2, True)
    assert harness.config() == THEIRS


async def test_what_was_done_by_half_is_finished_by_the_next_apply(harness: CloudflareHarness, skpay: Skpay) -> None:
    """A record whose answer is lost, and one that was never requested."""
    await harness.order(kind="lost", method="POST")
    assert (await skpay("apply", _environment(harness)))[0] == 3
    assert harness.sandbox.zones.records(ZONE_ID) == [_record("chat.example.com")]
    assert (await skpay("apply", _environment(harness)))[0] == 0
    assert harness.sandbox.zones.records(ZONE_ID) == [_record("chat.example.com"), _record("pay.example.com")]


async def test_a_refused_write_is_reported_and_changes_nothing(harness: CloudflareHarness, skpay: Skpay) -> None:
    await harness.order(kind="status", method="PUT", status=403, code=10000, message="Authentication error")
    code, printed = await skpay("apply", _environment(harness))
    assert (code, "Cloudflare Tunnel > Edit" in printed, "changed" in printed) == (2, True, False)
    assert harness.config() == THEIRS


async def test_all_missing_settings_are_reported_at_once(skpay: Skpay, tmp_path: Path) -> None:
    code, printed = await skpay("plan", {"APPS_FILE": str(tmp_path / "none.json")})
    assert code == 2
    assert [line.split(": ")[1] for line in printed.splitlines()] == [
        "CLOUDFLARE_API_TOKEN",
        "CLOUDFLARE_ACCOUNT_ID",
        "CLOUDFLARE_TUNNEL_ID",
        str(tmp_path / "none.json"),
        "PUBLIC_URL",
    ]


async def test_wrong_settings_are_reported_without_values(harness: CloudflareHarness, skpay: Skpay) -> None:
    wrong = {
        "CLOUDFLARE_API_TOKEN": f"{TOKEN}\x07",
        "CLOUDFLARE_ACCOUNT_ID": "zz-account",
        "CLOUDFLARE_TUNNEL_ID": "zz-tunnel",
        "CLOUDFLARE_API_BASE": "https://zz.example.com/client/v4",
    }
    code, printed = await skpay("plan", {**_environment(harness), **wrong})
    assert code == 2
    assert len(printed.splitlines()) == 4
    assert "zz" not in printed
    assert harness.sandbox.requests == []


@pytest.mark.parametrize(
    "base", ["https://api.example.com", "http://127.0.0.1.example.com", "http://[", "file://localhost/etc", "localhost"]
)
async def test_the_token_goes_to_cloudflare_or_to_this_machine(
    harness: CloudflareHarness, skpay: Skpay, base: str
) -> None:
    code, printed = await skpay("apply", {**_environment(harness), "CLOUDFLARE_API_BASE": base})
    assert (code, printed.startswith("error: CLOUDFLARE_API_BASE: ")) == (2, True)


async def test_the_token_may_stand_in_a_file(harness: CloudflareHarness, skpay: Skpay, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    environment = {**_environment(harness), "CLOUDFLARE_API_TOKEN": "", "CLOUDFLARE_API_TOKEN_FILE": str(secret)}
    assert (await skpay("plan", environment))[0] == 1
    code, printed = await skpay("plan", {**environment, "CLOUDFLARE_API_TOKEN": TOKEN})
    assert (code, "not both" in printed) == (2, True)
    code, printed = await skpay("plan", {**environment, "CLOUDFLARE_API_TOKEN_FILE": str(tmp_path / "gone")})
    assert (code, "cannot read" in printed) == (2, True)


async def test_a_tunnel_of_a_local_file_is_refused(skpay: Skpay) -> None:
    async with open_cloudflare(THEIRS, source="local") as harness:
        code, printed = await skpay("apply", _environment(harness))
        assert (code, "config.yml" in printed) == (2, True)
        assert harness.config() == THEIRS
