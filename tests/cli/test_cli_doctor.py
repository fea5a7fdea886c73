"""`skpay doctor`: well, and each thing broken, with what to do about it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from cli_said import Skpay
from servers.running import PUBLIC_URL, Running, served


@pytest.fixture
def well(running: Running) -> Running:
    """The server with everything as it should be: Stripe has our endpoint under the public URL."""
    running.stripe.add_endpoint(f"{PUBLIC_URL}/webhook/stripe", "whsec_other")
    return running


async def findings(skpay: Skpay, env: dict[str, str]) -> tuple[int, dict[str, dict[str, Any]]]:
    said = await skpay("doctor", "--json", env=env)
    return said.code, {finding["subject"]: finding for finding in json.loads(said.out)}


async def bad(skpay: Skpay, env: dict[str, str]) -> dict[str, str]:
    """Subject → message of what is not well; each has a remedy."""
    code, found = await findings(skpay, env)
    wrong = {subject: finding["message"] for subject, finding in found.items() if not finding["well"]}
    assert code == (1 if wrong else 0)
    assert all(found[subject]["remedy"] for subject in wrong)
    return wrong


async def test_all_is_well(skpay: Skpay, well: Running) -> None:
    said = await skpay("doctor", env=well.environ)
    assert said.code == 0, said.out
    assert "✗" not in said.out
    for part in ("server: ready", "gate: answers, and only to the secret", "stripe key: test mode", "litellm: ready"):
        assert part in said.out


async def test_nothing_runs(skpay: Skpay, alone: dict[str, str]) -> None:
    wrong = await bad(skpay, alone)
    assert set(wrong) >= {"server", "gate", "stripe key", "webhook endpoint", "litellm"}
    assert "no answer" in wrong["server"]


async def test_a_wrong_key_of_a_vendor(skpay: Skpay, well: Running) -> None:
    wrong = await bad(skpay, {**well.environ, "STRIPE_SECRET_KEY": "sk_test_wrong1a2b3c"})
    assert set(wrong) == {"stripe key", "webhook endpoint"}
    wrong = await bad(skpay, {**well.environ, "LITELLM_KEY": "sk-wrong1a2b3c"})
    assert set(wrong) == {"litellm"}


async def test_another_secret_than_the_running_servers(skpay: Skpay, well: Running) -> None:
    wrong = await bad(skpay, {**well.environ, "GATE_SECRET": "another-1a2b3c"})
    assert wrong == {"gate": "answered 403 with the secret"}
    wrong = await bad(skpay, {**well.environ, "ADMIN_TOKEN": "another-1a2b3c"})
    assert wrong == {"server": "does not know our ADMIN_TOKEN"}


async def test_a_server_that_is_not_ready_says_why(skpay: Skpay, well: Running) -> None:
    well.application._problems["catalog"] = "apps.json: surprise: unknown key"
    wrong = await bad(skpay, well.environ)
    assert wrong["server"] == "not ready: catalog: apps.json: surprise: unknown key"


async def test_something_else_on_our_port(skpay: Skpay, well: Running) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<h1>It works!</h1>", content_type="text/html")

    other = web.Application()
    other.router.add_get("/{path:.*}", page)
    async with served(other) as url:
        port = url.rpartition(":")[2]
        wrong = await bad(skpay, {**well.environ, "PORT": port})
        assert wrong == {"server": "answered something that is not JSON"}
        wrong = await bad(skpay, {**well.environ, "GATE_PORT": port})
        assert wrong == {"gate": "answered 200 without the secret"}


async def test_the_endpoint_at_stripe(skpay: Skpay, running: Running) -> None:
    assert (await bad(skpay, running.environ)) == {"webhook endpoint": "Stripe has no endpoint with our URL"}
    endpoint = running.stripe.add_endpoint(f"{PUBLIC_URL}/webhook/stripe", "whsec_other")
    stored = running.stripe.world.find("webhook_endpoint", endpoint["id"])
    stored["enabled_events"] = ["invoice.paid"]
    assert "customer.subscription.updated" in (await bad(skpay, running.environ))["webhook endpoint"]
    stored.update(enabled_events=["*"], status="disabled")
    assert (await bad(skpay, running.environ)) == {"webhook endpoint": "is disabled"}
    running.stripe.add_endpoint(f"{PUBLIC_URL}/webhook/stripe", "whsec_new")
    assert (await bad(skpay, running.environ)) == {}  # a new one beside the old one


async def test_litellm_down(skpay: Skpay, well: Running) -> None:
    assert set(await bad(skpay, {**well.environ, "LITELLM_URL": "http://127.0.0.1:9"})) == {"litellm"}
