"""What a refusal has besides its status, for a program, a browser and a proxy."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from access.access_samples import APP, with_app
from gate.gate_stage import Answer, Stage, ask, stage

from gateway.gate import answers

SIGN_IN = "https://chat.example.com/auth?x=1"
HTML, NAVIGATE = ("Accept", "text/html,application/xhtml+xml"), ("Sec-Fetch-Mode", "navigate")
WEBSOCKET = [("Sec-Fetch-Mode", "websocket"), ("Accept", "*/*")]


def link(answer: Answer) -> tuple[str, str]:
    """URL and relation of the one link."""
    found = re.fullmatch(r'<([^<>"\s]+)>; rel="([a-z]+)"', answer.header("Link") or "")
    assert found is not None, answer.headers
    return found[1], found[2]


async def test_402_links_to_the_plans_page() -> None:
    async with stage() as on:
        answer = await ask(on.port, uri="/pro", user="bob")
        assert (answer.status, link(answer)) == (402, (answer.json["upgrade_url"], "payment"))
        assert (answer.header("X-SK-Tier"), answer.header("WWW-Authenticate")) == ("free", None)


async def test_a_browsers_redirect_has_the_link_and_the_tier_too() -> None:
    async with stage() as on:
        answer = await ask(on.port, uri="/pro", user="bob", more=[NAVIGATE])
        assert (answer.status, link(answer)) == (303, (answer.header("Location"), "payment"))
        assert answer.header("X-SK-Tier") == "free"


@pytest.mark.parametrize(("user", "tier"), [("alice", "pro"), ("bob", "free")])
async def test_the_upgrade_path_has_the_tier_header_for_the_log(user: str, tier: str) -> None:
    async with stage() as on:
        answer = await ask(on.port, uri="/.skpayments/upgrade", user=user)
        assert (answer.status, answer.header("X-SK-Tier")) == (303, tier)


async def test_401_says_how_to_sign_in_and_where() -> None:
    async with stage(with_app(anonymous="refuse", sign_in_url=SIGN_IN)) as on:
        for more in ([], [("Cookie", "token=x")], [("Authorization", "Bearer x")]):
            answer = await ask(on.port, more=more)
            assert (answer.status, answer.json["error"]) == (401, "sign_in_required")
            assert answer.header("WWW-Authenticate") == 'Bearer realm="skai"'
            assert link(answer) == (SIGN_IN, "login")
            assert answer.header("X-SK-Tier") is None  # anonymous
        page = await ask(on.port, more=[NAVIGATE])
        assert (page.status, page.header("Location"), link(page)) == (303, SIGN_IN, (SIGN_IN, "login"))
        assert page.header("WWW-Authenticate") is None


async def test_401_of_an_app_without_a_sign_in_page_has_no_link() -> None:
    async with stage(with_app(anonymous="refuse")) as on:
        answer = await ask(on.port, more=[NAVIGATE])
        assert (answer.status, answer.header("Link")) == (401, None)
        assert answer.header("WWW-Authenticate") == 'Bearer realm="skai"'


async def test_a_link_cannot_write_a_header_or_end_itself() -> None:
    url = 'https://chat.example.com/\u00e9>; rel="x"\r\nX-SK-Tier: max'
    async with stage(with_app(anonymous="refuse", sign_in_url=url)) as on:
        answer = await ask(on.port)
        assert link(answer) == ("https://chat.example.com/%C3%A9%3E;%20rel=%22x%22%0D%0AX-SK-Tier:%20max", "login")
        assert answer.header("X-SK-Tier") is None


@pytest.mark.parametrize(
    ("more", "page"),
    [
        (WEBSOCKET, False),
        ([("Sec-Fetch-Mode", "websocket"), HTML], False),
        ([("Accept", "*/*")], False),
        ([], False),
        ([HTML], True),
    ],
)
@pytest.mark.parametrize(("uri", "user", "status"), [("/pro/ws", "bob", 402), ("/pro/ws", None, 401)])
async def test_a_websocket_handshake_gets_json_and_is_never_sent_elsewhere(
    more: list[tuple[str, str]], page: bool, uri: str, user: str | None, status: int
) -> None:
    """No WebSocket client follows a redirect: it would see an error without a reason. Programs send no text/html."""
    async with stage(with_app(sign_in_url=SIGN_IN)) as on:
        answer = await ask(on.port, uri=uri, user=user, more=more)
        assert (answer.status, answer.header("Location") is not None) == (303 if page else status, page)
        if not page:
            assert answer.header("Content-Type") == "application/json"
            assert answer.json["error"] in ("tier_required", "sign_in_required")


async def test_402_has_a_sentence_with_the_upgrade_link_as_markdown() -> None:
    async with stage() as on:
        answer = await ask(on.port, uri="/pro", user="bob")
        assert answer.json["detail"] == f"This needs the tier Pro. [Upgrade to Pro]({answer.json['upgrade_url']})"
        assert answer.json["message"] == "this needs the tier Pro"


async def test_the_name_of_a_tier_cannot_end_the_markdown_link() -> None:
    tiers = (APP.tiers[0], replace(APP.tiers[1], name="Pro](https://evil.example) [x"), *APP.tiers[2:])
    async with stage(replace(APP, tiers=tiers)) as on:
        detail = str((await ask(on.port, uri="/pro", user="bob")).json["detail"])
        assert re.findall(r"(?<!\\)\]\(([^)]*)\)", detail) == [(await _upgrade(on))]


async def _upgrade(on: Stage) -> object:
    return (await ask(on.port, uri="/pro", user="bob")).json["upgrade_url"]


async def test_401_and_503_have_a_sentence_too() -> None:
    async with stage(with_app(anonymous="refuse", sign_in_url=SIGN_IN)) as on:
        answer = await ask(on.port)
        assert answer.json["detail"] == f"Sign in to use this. [Sign in]({SIGN_IN})"
    async with stage(with_app(anonymous="refuse")) as on:
        assert (await ask(on.port)).json["detail"] == "Sign in to use this."
    async with stage(ready=False) as on:
        assert (await ask(on.port)).json["detail"] == "The service is starting. Try again in a moment."


@pytest.mark.parametrize("name", [name for name, value in vars(answers).items() if isinstance(value, bytes)])
def test_every_constant_refusal_has_a_sentence(name: str) -> None:
    body = vars(answers)[name].partition(b"\r\n\r\n")[2]
    if body:
        assert re.fullmatch(r"[A-Z].*\.", json.loads(body)["detail"]), name
