"""The commands of SOP.md's installation, typed literally: from a fresh checkout to a request that is served.

What needs a Docker engine is simulated by `ComposeEngine`: each container with the environment, mounts, networks and
user that the written compose file gives it. Every command is executed or is in NOT_EXECUTED with the reason.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from servers.checkout import checkout
from servers.compose_engine import ComposeEngine
from servers.shell import type_command
from servers.traefik import until

from gateway.litellm import LiteLLM
from gateway.sandbox.demo.sample_app import session_token
from gateway.sandbox.stripe import StripeSandbox
from gateway.settings import Secret, read_secret_file

ROOT = Path(__file__).parents[1]
STRIPE_KEY, WEBHOOK_SECRET = "sk_test_0123456789abcdef0123456789abcdef", "whsec_0123456789abcdef0123456789abcdef"
Answers = tuple[tuple[str, str], ...]

# The start of a command, and what the operator answers to each prompt.
TYPED: dict[str, Answers] = {
    "docker run --rm -it ": (
        ("App: its name [SKAI]: ", "\n"),
        ("Host: where people reach it, such as chat.example.com: ", "chat.example.com\n"),
        ("Identity: openwebui, or an entry of identity as JSON [openwebui]: ", "\n"),
        ("Stripe key: sk_… or rk_… (not shown; Enter to add it later): ", f"{STRIPE_KEY}\n"),
        ("LiteLLM: here (run one in this project), the URL of yours, or none [here]: ", "\n"),
    ),
    "cd live": (),
    "cat > secrets/stripe_webhook_secret": (("", f"{WEBHOOK_SECRET}\n\x04"),),
    "${EDITOR:-vi} .env litellm/config.yaml": (),
    "docker compose up -d": (),
    "docker compose exec litellm python3 /etc/litellm/keys.py": (),
    "docker compose run --rm skpayments python -m gateway check": (),
    'curl -fsS "$LITELLM/': (),
}
NOT_EXECUTED = {
    "docker compose exec skpayments python -m gateway doctor --live": "calls the public addresses, which need DNS and "
    "certificates; tests/doctor runs it through the real Traefik",
}


def commands() -> Iterator[str]:
    """Every line of every sh block of the installation."""
    text = (ROOT / "SOP.md").read_text(encoding="utf-8").split("## Install")[1].split("\n## ")[0]
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            yield line.strip()


def answers_to(command: str) -> Answers:
    (answers,) = [answers for start, answers in TYPED.items() if command.startswith(start)]
    return answers


def test_every_command_is_executed_or_listed_with_a_reason() -> None:
    listed = list(commands())
    assert len(listed) >= 12
    for command in listed:
        assert (command in NOT_EXECUTED) != any(command.startswith(start) for start in TYPED), command
    assert set(NOT_EXECUTED) <= set(listed)
    for start in TYPED:
        assert any(command.startswith(start) for command in listed), f"no longer in SOP.md: {start}"


def test_the_restricted_key_may_call_the_same_routes_in_the_sop_and_in_keys_py() -> None:
    script = (ROOT / "gateway/cli/init_files/litellm_keys.py.txt").read_text(encoding="utf-8")
    (made,) = re.findall(r"^ROUTES = (\[.*?\])", script, re.DOTALL | re.MULTILINE)
    (typed_routes,) = [re.findall(r'"allowed_routes": (\[[^]]*\])', line) for line in commands() if "allowed" in line]
    assert json.loads(typed_routes[0]) == json.loads(re.sub(r",\s*\]", "]", made))


@pytest.mark.needs_traefik
async def test_the_commands_lead_from_an_empty_folder_to_a_served_request(tmp_path: Path) -> None:
    stripe = StripeSandbox(secret_key=STRIPE_KEY)
    product = stripe.add_product("SKAI")
    for lookup_key, unit_amount in (("skai_pro_month", 2000), ("skai_enterprise_month", 10000)):
        stripe.add_price(product, unit_amount, "usd", "month", lookup_key=lookup_key)
    engine_folder = tmp_path / "engine"
    engine_folder.mkdir()
    async with ComposeEngine(engine_folder, stripe) as engine:
        live = await type_all(checkout(tmp_path / "checkout"), engine)
        await check_service(live, engine)


async def type_all(folder: Path, engine: ComposeEngine) -> Path:
    """Type all of them in one shell; each must succeed. Returns the last working directory."""
    editor = engine.folder / "bin/editor"
    editor.write_text("#!/bin/sh\nsed -i 's/^OPENAI_API_KEY=$/OPENAI_API_KEY=sk-of-the-provider/' \"$1\"\n")
    editor.chmod(0o755)
    environment = {**engine.environment(), "EDITOR": "editor"}
    for command in commands():
        if command in NOT_EXECUTED:
            continue
        if "litellm" in engine.ports and engine.litellm is not None:
            # In a real installation these are typed where LiteLLM is reached.
            url = f"http://127.0.0.1:{engine.ports['litellm']}"
            environment |= {"LITELLM": url, "MASTER_KEY": engine.litellm.state.master_key}
        if command.startswith('curl -fsS "$LITELLM/user/new"') and engine.litellm is not None:
            # These commands expect a LiteLLM in which keys.py has not run.
            del engine.litellm.state.users["skpayments"]
            for key in engine.litellm.state.keys.values():
                key.key_alias = f"{key.key_alias} of keys.py"
        done = await type_command(command, folder, environment, answers_to(command))
        assert done.code == 0, f"{command}\n{done.shown}"
        if command.startswith("docker run"):
            assert STRIPE_KEY not in done.shown
        folder = done.folder
    return folder


async def check_service(live: Path, engine: ComposeEngine) -> None:
    """The installation serves users, buyers and LiteLLM."""
    assert live.name == "live"
    assert engine.traefik is not None
    assert engine.litellm is not None
    assert engine.project is not None
    await engine.traefik.until_routers("sk-app-skai@file", "sk-public@file")
    await engine.traefik.until_served("pay.example.com")
    secret = engine.project.container("open-webui").environment["WEBUI_SECRET_KEY"]
    api_key = (live / "secrets/skai_api_key").read_text().strip()
    async with aiohttp.ClientSession() as session:

        async def ask(host: str, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
            headers = {"Host": host, "Accept": "application/json", **more.pop("headers", {})}
            url = engine.traefik.url + path if engine.traefik else ""
            async with session.request(method, url, headers=headers, allow_redirects=False, **more) as answer:
                return answer.status, json.loads(await answer.text() or "null")

        for cookie, user_id in ((), None), ((session_token(secret, "u1", int(time.time())),), "u1"):
            headers = {"Cookie": f"token={cookie[0]}"} if cookie else {}
            status, arrived = await ask("chat.example.com", "/", headers=headers)
            assert status == 200, engine.traefik.log()[-3000:]
            tags = {name.upper(): value for name, value in arrived if name.upper().startswith("X-SK-")}
            assert (tags["X-SK-APP"], tags["X-SK-TIER"], tags.get("X-SK-USER")) == ("skai", "free", user_id)
        for user_id, expected in (("u1", 402), ("admin", 200)):
            headers = {"Cookie": f"token={session_token(secret, user_id, int(time.time()))}"}
            assert (await ask("chat.example.com", "/api/v1/notes", headers=headers))[0] == expected, user_id
        assert (await ask("pay.example.com", "/health"))[0] == 200
        assert (await ask("pay.example.com", "/webhook/stripe", "POST", data=b"{}"))[0] == 400
        bought = await ask(
            "pay.example.com", "/checkout/skai", "POST",
            json={"user_id": "u1", "tier": "pro"}, headers={"Authorization": f"Bearer {api_key}"},
        )  # fmt: skip
        assert (bought[0], bought[1].get("kind")) == (200, "checkout"), bought
        await provisioned(engine)


async def provisioned(engine: ComposeEngine) -> None:
    """The restricted key works: the free tier's budget exists. The shared key is limited to the tier's models."""
    litellm = engine.litellm
    assert litellm is not None

    async def user_exists() -> bool:
        return "skai.free" in litellm.state.budgets and "u1" in litellm.state.customers

    await until(user_exists, f"LiteLLM knows u1: {litellm.requests[-10:]}")
    shared = engine.project.container("open-webui").environment["OPENAI_API_KEYS"] if engine.project else ""
    statuses = {}
    async with aiohttp.ClientSession() as session:
        restricted = read_secret_file(engine.folder.parent / "checkout/live/secrets/litellm_key")
        client = LiteLLM(session, f"http://127.0.0.1:{engine.ports['litellm']}", (Secret(restricted),))
        assert await client.denied_routes() == ()
        for model in ("small", "embedding", "large", "image"):
            async with session.post(
                f"http://127.0.0.1:{engine.ports['litellm']}/v1/chat/completions",
                json={"model": model, "messages": []},
                headers={"Authorization": f"Bearer {shared}", "X-OpenWebUI-User-Id": "u1"},
            ) as answer:
                statuses[model] = answer.status
    assert statuses == {"small": 200, "embedding": 200, "large": 403, "image": 403}
