"""`skpay users adopt`: existing Stripe customers become users of an app."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from cli_result import Skpay
from servers.running import STRIPE_KEY, Running

from gateway.store import Store, customers


async def made(running: Running, **metadata: str) -> str:
    """A customer with a running subscription that somebody else made."""
    headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
    form = {f"metadata[{name}]": value for name, value in metadata.items()}
    async with running.session.post(f"{running.stripe.public_url}/v1/customers", data=form, headers=headers) as answer:
        customer_id = str((await answer.json())["id"])
    running.stripe.set_card(customer_id, "ok")
    price = next(each for each in running.stripe.state.all("price") if each["lookup_key"] == "skai_pro_month")
    form = {"customer": customer_id, "items[0][price]": price["id"]}
    url = f"{running.stripe.public_url}/v1/subscriptions"
    async with running.session.post(url, data=form, headers=headers) as answer:
        assert answer.status == 200
    return customer_id


async def test_customers_are_found_by_their_metadata_dry_and_then_for_real(skpay: Skpay, running: Running) -> None:
    ada, bob = await made(running, uid="ada"), await made(running, uid="bob")
    await made(running)
    dry = await skpay("users", "adopt", "--app", "skai", "--metadata-key", "uid", env=running.environ)
    assert dry.code == 0, dry
    assert "2 to adopt, 0 known already, 0 refused" in dry.out
    assert "nothing was changed" in dry.out
    assert ada in dry.out
    assert bob in dry.out
    assert (await running.json("GET", "/status/skai/ada"))[1]["stripe_customer_id"] is None

    done = await skpay("users", "adopt", "--app", "skai", "--metadata-key", "uid", "--apply", env=running.environ)
    assert done.code == 0, done
    assert "2 adopted, 0 known already, 0 refused" in done.out
    deadline = time.monotonic() + 10
    while (await running.json("GET", "/status/skai/ada"))[1]["tier"] != "pro":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)

    second = await skpay("users", "adopt", "--app", "skai", "--metadata-key", "uid", "--apply", env=running.environ)
    assert "0 adopted, 2 known already, 0 refused" in second.out


async def test_one_customer_is_adopted_by_the_command_that_the_alert_names(skpay: Skpay, running: Running) -> None:
    ada = await made(running)
    one = ("users", "adopt", "--app", "skai", "--customer", ada, "--user", "ada")
    assert "1 to adopt" in (await skpay(*one, env=running.environ)).out
    assert "1 adopted" in (await skpay(*one, "--apply", env=running.environ)).out
    assert "1 known already" in (await skpay(*one, "--apply", env=running.environ)).out


@pytest.mark.parametrize(
    "options",
    [(), ("--customer", "cus_1"), ("--user", "ada"), ("--metadata-key", "uid", "--customer", "cus_1", "--user", "a")],
)
async def test_exactly_one_source_of_claims_is_required(
    skpay: Skpay, running: Running, options: tuple[str, ...]
) -> None:
    result = await skpay("users", "adopt", "--app", "skai", *options, env=running.environ)
    assert (result.code, "Give either --metadata-key or --csv, or --customer with --user." in result.err) == (2, True)


async def test_a_csv_with_a_contradiction_is_refused_there_and_only_there(
    skpay: Skpay, running: Running, tmp_path: Path
) -> None:
    ada, twice = await made(running), await made(running)
    many = "".join(f"cus_none_{number},user{number}\n" for number in range(30))
    file = tmp_path / "users.csv"
    file.write_text(f"customer_id,user_id\n{twice},one\n{many}\n{ada},ada\n{ada},ada\n{twice},other\n")
    result = await skpay("users", "adopt", "--app", "skai", "--csv", str(file), "--apply", env=running.environ)
    assert result.code == 1
    assert "1 adopted, 0 known already, 32 refused" in result.out
    assert result.out.count("is assigned to two users") == 2
    assert (await running.json("GET", "/status/skai/ada"))[1]["stripe_customer_id"] == ada


async def test_it_works_while_no_server_runs(skpay: Skpay, running: Running, tmp_path: Path) -> None:
    ada = await made(running)
    await running.application.stop()
    file = tmp_path / "users.csv"
    file.write_text(f"{ada},ada\n")
    result = await skpay("users", "adopt", "--app", "skai", "--csv", str(file), "--apply", env=running.environ)
    assert result.code == 0, result
    store = Store.open(running.environ["DATABASE_URL"])
    assert store.read_now(lambda conn: customers.owner(conn, ada)) is not None
    store.close_now()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--app", "skai"), "either --metadata-key or --csv"),
        (("--app", "skai", "--metadata-key", "uid", "--csv", "x"), "either --metadata-key or --csv"),
        (("--app", "skai", "--csv", "nowhere.csv"), "nowhere.csv"),
        (("--app", "skai", "--csv", "{csv}"), "{csv}:2: expected customer_id,user_id"),
    ],
)
async def test_unusable_input_is_reported(
    skpay: Skpay, alone: dict[str, str], tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    file = tmp_path / "users.csv"
    file.write_text("cus_1,u1\ncus_2\n")
    result = await skpay("users", "adopt", *(each.format(csv=file) for each in words), env=alone)
    assert result.code == 2
    assert text.format(csv=file) in result.err


async def test_an_unknown_app_is_reported(skpay: Skpay, running: Running, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("cus_1,u1\n")
    result = await skpay("users", "adopt", "--app", "nowhere", "--csv", str(file), env=running.environ)
    assert result.code == 2
    assert "nowhere" in result.err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("cus_1,J\u00f6rg\n".encode("utf-16"), "{csv}: is UTF-16, expected UTF-8"),
        ("cus_1,J\u00f6rg\n".encode("utf-16-le"), "{csv}: holds NUL bytes (UTF-16 without its mark?), expected UTF-8"),
        ("cus_1,J\u00f6rg\n".encode("utf-32"), "{csv}: is UTF-32, expected UTF-8"),
        ("cus_1,ada\ncus_2,J\u00f6rg\n".encode("cp1252"), "{csv}: line 2 is not UTF-8 (byte 0xf6; Windows-1252?)"),
        (b"cus_1,ada\ncus_2;bob\n", "{csv}:2: expected customer_id,user_id with a comma between, got ';'"),
        (b"cus_1\tada\n", "{csv}:1: expected customer_id,user_id with a comma between, got '\\t'"),
        (b'cus_1,"' + b"x" * 200_000 + b'"\n', "{csv}:1: is no CSV: field larger than field limit"),
    ],
)
async def test_a_csv_in_another_encoding_is_named_with_the_remedy(
    skpay: Skpay, alone: dict[str, str], tmp_path: Path, content: bytes, text: str
) -> None:
    file = tmp_path / "users.csv"
    file.write_bytes(content)
    result = await skpay("users", "adopt", "--app", "skai", "--csv", str(file), env=alone)
    assert (result.code, result.out) == (2, "")
    assert text.format(csv=file) in result.err
    assert "Traceback" not in result.err
    if "UTF-8" in text:
        assert "Save as > CSV UTF-8" in result.err


async def test_a_csv_of_a_spreadsheet_is_taken_with_its_byte_order_mark(
    skpay: Skpay, running: Running, tmp_path: Path
) -> None:
    ada = await made(running)
    file = tmp_path / "users.csv"
    file.write_bytes(f'customer_id,user_id\r\n{ada},"J\u00f6rg"\r\n'.encode("utf-8-sig"))
    result = await skpay("users", "adopt", "--app", "skai", "--csv", str(file), "--json", env=running.environ)
    assert result.code == 0, result
    assert [(each["customer_id"], each["user_id"]) for each in json.loads(result.out)] == [(ada, "J\u00f6rg")]


async def test_a_wrong_key_is_called_that(skpay: Skpay, running: Running) -> None:
    wrong = {**running.environ, "STRIPE_SECRET_KEY": "sk_test_another1a2b3c"}
    result = await skpay("users", "adopt", "--app", "skai", "--metadata-key", "uid", env=wrong)
    assert (result.code, result.out) == (2, "")
    assert "STRIPE_SECRET_KEY: Stripe does not know this key" in result.err
