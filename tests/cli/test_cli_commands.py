"""Every command that asks or changes something, with a running server and without one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from cli_result import Skpay, every_command
from servers.running import ADMIN_TOKEN, Running, event, running_application, write_apps
from servers.traefik import until

from gateway.billing.work.transaction import Transaction
from gateway.cli import reconcile, users
from gateway.cli import skpay as root
from gateway.cli.server import alone as alone_in_the_store
from gateway.errors import InvalidInput
from gateway.settings import read_settings
from gateway.store import alerts, grants

GRANT = ("users", "grant", "skai", "u1", "pro", "--reason", "a gift")


async def test_the_help_names_every_command_with_a_line_about_it(skpay: Skpay) -> None:
    result = await skpay("--help")
    assert result.code == 0
    for name in root.entries:
        (line,) = [line for line in result.out.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3, name


async def test_the_help_of_each_command_says_what_it_does(skpay: Skpay) -> None:
    for words in every_command():
        result = await skpay(*words, "--help")
        assert result.code == 0
        assert f"Usage: skpay {' '.join(words)}" in result.out.replace("\n", " ")
        assert len(result.out.split("\n\n")[1].split()) >= 2, words


async def test_a_command_or_option_that_is_unknown_is_wrong_input(skpay: Skpay) -> None:
    for words in (
        ("nothing",),
        (
            "users",
            "grant",
        ),
        ("users", "grant", "skai"),
        ("keys", "revoke", "x"),
        ("routes", "--odd"),
    ):
        result = await skpay(*words)
        assert (result.code, result.out) == (2, "")
        assert "Usage" in result.err


async def test_without_an_environment_all_missing_variables_are_reported(skpay: Skpay) -> None:
    for words in (("serve",), ("check",), ("doctor",), ("alerts", "list"), ("events", "list"), ("keys", "list"), GRANT):
        result = await skpay(*words)
        assert result.code == 2
        # Those that read apps.json as well say what is wrong there, too; check names its command in the container.
        assert result.err.count("error: ") == {"serve": 9, "check": 10}.get(words[0], 5)
        assert "ADMIN_TOKEN: not set" in result.err


async def test_t4_a_grant_through_the_server_is_known_to_the_gate_at_once(skpay: Skpay, running: Running) -> None:
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})

    async def tier(expected: str) -> bool:
        return (await running.gate(Authorization=f"Bearer {made['key']}"))[1]["X-SK-Tier"] == expected

    assert await tier("free")
    result = await skpay(*GRANT, "--until", "2099-01-31", env=running.environ)
    assert (result.code, result.out.strip()) == (0, "✓ u1 is given pro of skai until 2099-01-31")
    await until(lambda: tier("pro"), "the gate heard of the grant")
    result = await skpay("users", "show", "skai", "u1", "--json", env=running.environ)
    assert (result.code, json.loads(result.out)["tier"]) == (0, "pro")
    result = await skpay("users", "explain", "skai", "u1", env=running.environ)
    assert "skai/u1 has pro" in result.out
    assert "(new) → pro" in result.out
    result = await skpay("users", "revoke", "skai", "u1", env=running.environ)
    assert result.out.strip() == "✓ 1 grant(s) of u1 ended"
    await until(lambda: tier("free"), "the gate heard of its end")


async def test_t4_a_grant_without_a_server_is_there_when_one_starts(skpay: Skpay, alone: dict[str, str]) -> None:

    result = await skpay(*GRANT, env=alone)
    assert (result.code, result.err) == (0, "")
    async with running_application(Path(alone["APPS_FILE"]).parent) as running:

        async def given() -> bool:
            return (await running.json("GET", "/status/skai/u1"))[1]["tier"] == "pro"

        await until(given, "u1 is pro")


async def test_t4_while_a_server_uses_the_database_no_command_writes(skpay: Skpay, running: Running) -> None:
    result = await skpay(*GRANT, env={**running.environ, "PORT": "9"})
    assert result.code == 2
    assert "a server runs on" in result.err


async def test_an_invalid_grant_is_refused_alike_with_and_without_a_server(
    skpay: Skpay, running: Running, alone: dict[str, str]
) -> None:
    from servers.traefik import free_port

    lonely = {**alone, "DATABASE_URL": alone["DATABASE_URL"] + "-2", "PORT": str(free_port())}
    for words, part in (
        (("users", "grant", "nope", "u1", "pro", "--reason", "x"), "no app 'nope'"),
        (("users", "grant", "skai", "u1", "gold", "--reason", "x"), "no tier 'gold'"),
        (("users", "grant", "skai", "u1", "pro", "--reason", "x", "--until", "2001-01-01"), "over already"),
        (("users", "grant", "skai", "u1", "pro", "--reason", "x", "--until", "soon"), "--until: expected a date"),
        (("users", "revoke", "skai", "nobody"), "has no grant"),
        (("keys", "create", "--app", "nope"), "no app 'nope'"),
        (("keys", "revoke", "77"), "no key 77"),
        (("keys", "revoke", "x"), 'expected the id of a key, such as 3, got "x"; see: skpay keys list'),
    ):
        for env in (running.environ, lonely):
            result = await skpay(*words, env=env)
            assert (result.code, result.out) == (2, ""), words
            assert part in result.err
            assert "Traceback" not in result.err


async def test_a_date_with_an_offset_is_that_instant() -> None:
    assert users._until_at("2027-01-31") == users._until_at("2027-01-31T02:00:00+02:00") == 1801353600
    assert users._until_at(None) is None
    with pytest.raises(InvalidInput):
        users._until_at("31.1.2027")


@pytest.mark.parametrize("user_id", ["a/b", "..", "a%2Fb", "ünï", "a b?c#d", "{x}", "-"])
async def test_any_user_id_arrives_as_it_is(skpay: Skpay, running: Running, user_id: str) -> None:
    result = await skpay("users", "grant", "--reason", "x", "--", "skai", user_id, "pro", env=running.environ)
    assert result.code == 0
    result = await skpay("users", "show", "--json", "--", "skai", user_id, env=running.environ)
    assert json.loads(result.out)["user_id"] == user_id
    assert (await skpay("users", "revoke", "--", "skai", user_id, env=running.environ)).code == 0


async def test_keys_are_made_listed_and_revoked(skpay: Skpay, running: Running) -> None:
    result = await skpay("keys", "create", "--app", "skai", "--name", "backend", env=running.environ)
    key = result.out.splitlines()[-1]
    assert result.code == 0
    assert key.startswith("ska_")
    assert (await running.json("GET", "/status/skai/u1", key))[0] == 200
    result = await skpay("keys", "list", env=running.environ)
    assert "backend" in result.out
    assert key not in result.out
    assert (await skpay("keys", "revoke", "1", env=running.environ)).code == 0
    assert (await running.json("GET", "/status/skai/u1", key))[0] == 401


async def test_keys_work_without_a_server_too(skpay: Skpay, alone: dict[str, str]) -> None:
    result = await skpay("keys", "list", env=alone)
    assert (result.code, result.out.strip()) == (0, "There are no keys.")
    result = await skpay("keys", "create", "--app", "skai", "--user", "u1", env=alone)
    assert result.out.splitlines()[-1].startswith("skp_")
    assert (await skpay("keys", "revoke", "1", env=alone)).code == 0


async def test_alerts_are_exit_1_while_there_are_any(skpay: Skpay, alone: dict[str, str]) -> None:
    assert (await skpay("alerts", "list", env=alone)).code == 0

    def raise_one(tx: Transaction) -> bool:
        return alerts.open_(tx.conn, "price_missing", "skai/pro/x", "Stripe has no [bold]price", int(time.time()))

    alone_in_the_store(read_settings(alone), raise_one)
    result = await skpay("alerts", "list", env=alone)
    assert result.code == 1
    assert "price_missing" in result.out
    assert "Stripe has no [bold]price" in result.out


async def test_events_and_refresh_and_retry(skpay: Skpay, running: Running) -> None:
    await running.webhook(event("evt_seen"))
    result = await skpay("events", "list", env=running.environ)
    assert result.code == 0
    assert "evt_seen" in result.out
    result = await skpay("users", "refresh", "skai", "u1", env=running.environ)
    assert (result.code, "skai has no user 'u1'." in result.err) == (2, True)
    await skpay(*GRANT, env=running.environ)
    assert (await skpay("users", "refresh", "skai", "u1", env=running.environ)).code == 0
    assert (
        await skpay("limits", "retry", env=running.environ)
    ).out.strip() == "✓ 0 user(s) are provisioned again; see: skpay alerts list"


async def test_commands_that_need_a_server_report_that_none_runs(skpay: Skpay, alone: dict[str, str]) -> None:
    for words in (
        ("users", "show", "skai", "u1"),
        ("users", "explain", "skai", "u1"),
        ("users", "refresh", "skai", "u1"),
    ):
        result = await skpay(*words, env=alone)
        assert result.code == 3
        assert "start it with: skpay serve" in result.err


async def test_a_wrong_admin_token_is_reported(skpay: Skpay, running: Running) -> None:
    result = await skpay(
        "keys", "list", env={**running.environ, "ADMIN_TOKEN": "another-1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c"}
    )
    assert result.code == 2
    assert "The admin token is missing or wrong." in result.err


async def test_a_grant_of_the_past_is_not_stored(skpay: Skpay, alone: dict[str, str]) -> None:
    await skpay("users", "grant", "skai", "u1", "pro", "--reason", "x", "--until", "2001-01-01", env=alone)
    found = alone_in_the_store(read_settings(alone), lambda tx: grants.live(tx.conn, "skai", "u1", 0))
    assert list(found) == []


async def test_check_reads_what_serve_would_read(skpay: Skpay, alone: dict[str, str]) -> None:

    result = await skpay("check", env=alone)
    assert (result.code, "2 app(s), 6 tier(s)" in result.out) == (0, True)
    without = {name: value for name, value in alone.items() if name != "BLOG_KEY"}
    result = await skpay("check", env=without)
    assert result.code == 2
    assert "apps[1].api_key: env:BLOG_KEY is not set in the environment" in result.err

    def odd(apps: dict[str, object]) -> None:
        apps["surprise"] = 1

    write_apps(Path(alone["APPS_FILE"]).parent, odd)
    result = await skpay("check", env=alone)
    assert result.code == 2
    assert "surprise: unknown key" in result.err
    assert ADMIN_TOKEN not in result.err


async def test_check_reports_all_problems_of_environment_apps_and_database_at_once(
    skpay: Skpay, alone: dict[str, str], tmp_path: Path
) -> None:
    wrong = {
        **alone, "GATE_SECRET": "abc", "STRIPE_WEBHOOK_SECRET": "we_1a2b3c", "PUBLIC_URL": "http://pay.example.com",
        "DATABASE_URL": f"sqlite:///{tmp_path}/apps.json",
    }  # fmt: skip
    del wrong["BLOG_KEY"]
    for command, lines in (("check", 5), ("serve", 4)):
        result = await skpay(command, env=wrong)
        assert (result.code, result.out, result.err.count("error: ")) == (2, "", lines), result
        for part in ("GATE_SECRET: has 3 bytes", "STRIPE_WEBHOOK_SECRET: is the id of", "PUBLIC_URL: uses http at a",
                     "apps[1].api_key: env:BLOG_KEY is not set"):  # fmt: skip
            assert part in result.err
        assert ("not an SQLite database" in result.err) == (command == "check")


async def test_check_beside_a_compose_file_names_the_command_in_the_container(skpay: Skpay, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").touch()
    result = await skpay("check", env={})
    assert result.code == 2
    assert "docker compose run --rm skpayments python -m gateway check" in result.err.splitlines()[-1]


async def test_check_leaves_a_running_servers_database_alone(skpay: Skpay, running: Running) -> None:
    result = await skpay("check", env=running.environ)
    assert result.code == 0, result


async def test_a_database_server_that_is_away_is_exit_3_and_a_wrong_setting_exit_2(
    skpay: Skpay, alone: dict[str, str]
) -> None:
    for words in (("check",), ("alerts", "list"), ("users", "list")):
        result = await skpay(*words, env={**alone, "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/pay"})
        assert (result.code, result.out) == (3, "")
        assert "127.0.0.1:1/pay cannot be reached: Connection refused; is it running" in result.err
        assert "hunter2" not in result.err
        result = await skpay(*words, env={**alone, "DATABASE_URL": "sqllite:///pay.db"})
        assert (result.code, "did you mean sqlite?" in result.err) == (2, True)


async def test_a_server_at_another_port_is_not_called_a_second_instance(skpay: Skpay, running: Running) -> None:
    result = await skpay("keys", "list", env={**running.environ, "PORT": "9"})
    assert result.code == 2
    assert f"(process {os.getpid()}), but none answers at http://127.0.0.1:9; give this command its" in result.err


async def test_a_server_on_every_address_of_both_families_is_found(skpay: Skpay, tmp_path: Path) -> None:
    async with running_application(tmp_path, HOST="::") as served:
        ports = {"PORT": str(served.application.web_port), "GATE_PORT": str(served.application.gate_port)}
        for host in ("127.0.0.1", "[::1]"):
            async with served.session.get(f"http://{host}:{ports['PORT']}/health") as answer:
                assert answer.status == 200
            async with served.session.get(f"http://{host}:{ports['GATE_PORT']}/gate") as answer:
                assert answer.status == 403
        result = await skpay("keys", "list", env={**served.environ, **ports})
        assert (result.code, result.out) == (0, "There are no keys.\n")


async def test_a_replay_of_notices_names_its_two_ways(skpay: Skpay, alone: dict[str, str]) -> None:
    for words in ((), ("id-1", "--dead")):
        result = await skpay("notices", "replay", *words, env=alone)
        assert (result.code, "CHANGE_ID, or give --dead for all that were given up" in result.err) == (2, True)
    result = await skpay("notices", "replay", "id-1", "--app", "skai", env=alone)
    assert (result.code, "--app goes with --dead only" in result.err) == (2, True)


@pytest.mark.parametrize("unknown_spenders", [[], ["ghost"]])
@pytest.mark.parametrize("problems", [[], ["LiteLLM: away"]])
@pytest.mark.parametrize("unadopted", [[], ["cus_1 pays a price of skai, and is nobody's"]])
@pytest.mark.parametrize("stopped", [None, "too many would lose their tier"])
def test_reconcile_never_reports_agreement_with_a_problem(
    capsys: pytest.CaptureFixture[str],
    unknown_spenders: list[str],
    problems: list[str],
    unadopted: list[str],
    stopped: str | None,
) -> None:
    checked = dict.fromkeys(("subscriptions", "customers", "one_by_one", "litellm"), 1)
    reconcile._print_report(
        {"lines": [], "left_out": 0, "checked": checked, "unknown_spenders": unknown_spenders, "problems": problems,
         "unadopted": unadopted, "stopped": stopped, "applied": False}
    )  # fmt: skip
    captured = capsys.readouterr()
    faults = bool(unknown_spenders or problems or unadopted or stopped)
    assert ("✗" in captured.out or "error" in captured.err) == faults
    assert ("agree" in captured.out) == (not faults)
