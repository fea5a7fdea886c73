"""`skpay gate explain`."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest
from access.access_samples import token
from cli_result import Skpay
from servers.running import SESSION_SECRET, Running
from servers.traefik import until

IMAGES = "https://chat.example.com/api/v1/images/generations?x=1"


def cookie(user_id: str) -> str:
    made = token({"id": user_id, "exp": int(time.time()) + 600}, secret=SESSION_SECRET)
    return f"token={made.decode()}"


async def test_it_prints_every_step_and_no_secret(skpay: Skpay, running: Running) -> None:
    mine = cookie("ada")
    result = await skpay("gate", "explain", "skai", "--url", IMAGES, "--cookie", mine, env=running.environ)
    assert (result.code, result.err) == (0, "")
    assert [line.rstrip() for line in result.out.splitlines() if not line.startswith("            ")] == [
        "  app       skai (SKAI) at chat.example.com",
        "✓ host      chat.example.com",
        "  path      /api/v1/images/generations is read as /api/v1/images/generations/",
        result.out.splitlines()[3],
        "  tier      free, the default, as the user is not in the gate's table; the store has no tier of this user",
        "✗ rule      /api/v1/images needs pro: fails",
        "  outcome   tier_required, as counted in skpay_gate_requests_total",
        "  answer    402",
    ]
    assert result.out.splitlines()[3].startswith("✓ identity  ada, by cookie token, valid until 20")
    assert "X-SK-Tier: free" in result.out
    assert "required_tier: pro" in result.out
    assert "upgrade_url: https://pay.example.com/buy/skai?t=not-shown" in result.out
    assert mine[8:40] not in result.out


async def test_as_json_for_a_program(skpay: Skpay, running: Running) -> None:
    words = ("gate", "explain", "skai", "--url", IMAGES, "-X", "POST", "-H", "Accept: text/html", "--json")
    result = await skpay(*words, env=running.environ)
    text = json.loads(result.out)
    assert (result.code, text["outcome"], text["answer"]["status"]) == (0, "sign_in_required", 401)


@pytest.mark.parametrize(
    ("option", "text"), [("--cookie", "theme=dark\n{}\n"), ("--header", "Accept: */*\nCookie: {}\n")]
)
async def test_a_secret_comes_by_standard_input(
    skpay: Skpay, running: Running, monkeypatch: pytest.MonkeyPatch, option: str, text: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text.format(cookie("ada"))))
    result = await skpay("gate", "explain", "skai", "--url", IMAGES, option, "-", env=running.environ)
    assert (result.code, "✓ identity  ada, by cookie token" in result.out) == (0, True)


async def test_it_says_what_is_wrong(skpay: Skpay, running: Running) -> None:
    for words, part in (
        (("--cookie", "token=forged"), "✗ identity  cookie token does not verify: malformed_token: the token is malf"),
        (("--url", "https://evil.example/"), "✗ host      evil.example is not one of skai's"),
        (("--url", "https://chat.example.com/api%2fv1"), "can be read in more than one way"),
        (("--url", "https://chat.example.com/" + "%2f" * 1000), "can be read in too many ways"),
        (("--url", "https://chat.example.com/"), "  rule      no route of apps.json covers this path"),
    ):
        result = await skpay("gate", "explain", "skai", "--url", IMAGES, *words, env=running.environ)
        assert result.code == 0
        assert part in result.out


async def test_a_table_that_differs_from_the_store_is_reported(skpay: Skpay, running: Running) -> None:
    await running.gate(Cookie=cookie("ada"))
    words = ("gate", "explain", "skai", "--url", IMAGES, "--cookie", cookie("ada"))
    await skpay("users", "grant", "skai", "ada", "pro", "--reason", "x", env=running.environ)

    async def granted() -> bool:
        return (
            "✓ tier      pro, in the gate's table and in the store, since 20"
            in (await skpay(*words, env=running.environ)).out
        )

    await until(granted, "the gate heard of the grant")
    running.application.parts.tiers.publish("skai", "ada", "free", 4_000_000_000)
    result = await skpay(*words, env=running.environ)
    assert "✗ tier      free, in the gate's table, but the store says pro: skpay users refresh skai ada" in result.out
    assert "changes at 2096-10-02 07:06:40 UTC" in result.out


async def test_an_impossible_request_is_invalid_input_and_its_message_quotes_no_value(
    skpay: Skpay, running: Running
) -> None:
    for words, part in (
        (("nope", "--url", IMAGES), "no app 'nope'"),
        (("skai", "--url", "/api"), "url: expected"),
        (("skai",), "--url"),
        (("skai", "--url", IMAGES, "-H", "Bearer-of-a-secret"), "expected 'Name: value'"),
        (("skai", "--url", IMAGES, "-b", "-", "-H", "-"), "read once"),
    ):
        result = await skpay("gate", "explain", *words, env=running.environ)
        assert (result.code, result.out) == (2, "")
        assert part in result.err
        assert "Bearer-of-a-secret" not in result.err


async def test_without_a_server_it_says_how_to_start_one(skpay: Skpay, alone: dict[str, str]) -> None:
    result = await skpay("gate", "explain", "skai", "--url", IMAGES, env=alone)
    assert (result.code, "skpay serve" in result.err) == (3, True)
