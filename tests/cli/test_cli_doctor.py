"""`skpay doctor` as a person or CI runs it: what is printed, and with which code it ends."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from cli_result import Skpay
from servers.running import PUBLIC_URL, Running, served

from gateway.sandbox.stripe import API_VERSION


@pytest.fixture
def well(running: Running) -> Running:
    """The server with everything as it should be: Stripe has our endpoint under the public URL."""
    running.stripe.add_endpoint(f"{PUBLIC_URL}/webhook/stripe", "whsec_other", api_version=API_VERSION)
    return running


async def bad(skpay: Skpay, env: dict[str, str]) -> dict[str, str]:
    """Subject → message of what is bad; each has a remedy, and the exit code tells."""
    result = await skpay("doctor", "--json", env=env)
    found = json.loads(result.out)
    wrong = {finding["subject"]: finding["message"] for finding in found if finding["state"] == "bad"}
    assert result.code == (1 if wrong else 0)
    assert all(finding["remedy"] for finding in found if finding["state"] in ("bad", "warning"))
    assert {finding["state"] for finding in found} <= {"ok", "warning", "bad", "not checked"}
    return wrong


async def test_all_is_well(skpay: Skpay, well: Running) -> None:
    result = await skpay("doctor", env=well.environ)
    assert result.code == 0, result.out
    assert "✗" not in result.out
    for part in ("server: ready", "gate: answers, and only to the secret", "stripe key: test mode", "litellm: ready"):
        assert f"✓ {part}" in result.out
    for part in ("webhook URL: was not called\n    → skpay doctor --live", "traefik: its routers were not checked"):
        assert f"· {part}" in result.out
    assert result.out.splitlines()[-1].endswith("ok, 6 not checked")


async def test_a_warning_fails_only_with_the_option_for_it(skpay: Skpay, well: Running) -> None:
    well.stripe.add_endpoint(f"{PUBLIC_URL}/webhook/stripe", "whsec_third", api_version=API_VERSION)
    result = await skpay("doctor", env=well.environ)
    assert (result.code, "! webhook endpoint: there are 2" in result.out) == (0, True)
    assert (await skpay("doctor", "--strict", env=well.environ)).code == 1


async def test_an_installation_that_cannot_be_checked_exits_2(skpay: Skpay, well: Running) -> None:
    result = await skpay("doctor", env={**well.environ, "PUBLIC_URL": ""})
    assert (result.code, result.out) == (2, "")
    assert "PUBLIC_URL" in result.err


async def test_nothing_runs(skpay: Skpay, alone: dict[str, str]) -> None:
    wrong = await bad(skpay, alone)
    assert set(wrong) == {"server", "gate", "stripe key", "litellm"}
    assert "no answer" in wrong["server"]


async def test_a_server_that_is_not_ready_says_why(skpay: Skpay, well: Running) -> None:
    well.application._problems["catalog"] = "apps.json: surprise: unknown key"
    assert (await bad(skpay, well.environ)) == {"server": "not ready: catalog: apps.json: surprise: unknown key"}


async def test_something_else_on_our_port(skpay: Skpay, well: Running) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<h1>It works!</h1>", content_type="text/html")

    other = web.Application()
    other.router.add_route("*", "/{path:.*}", page)
    async with served(other) as url:
        port = url.rpartition(":")[2]
        wrong = await bad(skpay, {**well.environ, "PORT": port})
        assert wrong == {"server": "answered something that is not JSON"}
        wrong = await bad(skpay, {**well.environ, "GATE_PORT": port})
        assert wrong == {"gate": "answered 200 without the secret"}


async def test_a_portal_is_pushed(skpay: Skpay, well: Running) -> None:
    result = await skpay("portal", "push", env=well.environ)
    assert result.code == 0
    assert [line.partition(": bpc_")[0] for line in result.out.splitlines()] == ["✓ skai", "✓ blog"]
    assert (await skpay("portal", "push", env={**well.environ, "PORT": "9"})).code == 3
