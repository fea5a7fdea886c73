"""The client against the sandbox, and against answers that are none of Cloudflare's."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from cloudflare_harness import ACCOUNT_ID, CATCH_ALL, THEIRS, TOKEN, TUNNEL_ID, CloudflareHarness, open_place

from gateway.cloudflare import Cloudflare
from gateway.errors import Conflict, SkpayError, UpstreamFailed
from gateway.settings import Secret


@pytest.fixture
async def harness() -> AsyncIterator[CloudflareHarness]:
    async with open_place(THEIRS) as opened:
        yield opened


def _problems(error: SkpayError) -> str:
    """Everything of an error that anybody may get to see."""
    return f"{error!r} {error.message} {error.detail} {error.fields} {error.__cause__!r}"


async def _get(harness: CloudflareHarness, token: str = TOKEN) -> dict[str, Any]:
    return await harness.client(token).tunnel_configuration(ACCOUNT_ID, TUNNEL_ID)


async def test_the_configuration_is_read_whole(harness: CloudflareHarness) -> None:
    assert await _get(harness) == THEIRS


async def test_what_is_put_is_what_is_read_afterwards(harness: CloudflareHarness) -> None:
    config = {"ingress": [CATCH_ALL]}
    assert await harness.client().put_tunnel_configuration(ACCOUNT_ID, TUNNEL_ID, config) == config
    assert await _get(harness) == config == harness.config()


async def test_a_tunnel_without_any_configuration_is_empty() -> None:
    async with open_place(None) as harness:
        assert await _get(harness) == {}


async def test_a_tunnel_of_a_local_file_is_left_alone() -> None:
    async with open_place(None, source="local") as harness:
        with pytest.raises(Conflict, match=r"config\.yml"):
            await _get(harness)


async def test_an_unknown_tunnel_is_reported(harness: CloudflareHarness) -> None:
    with pytest.raises(UpstreamFailed, match="no such tunnel") as caught:
        await harness.client().tunnel_configuration(ACCOUNT_ID, "00000000-0000-0000-0000-000000000000")
    assert (caught.value.retryable, caught.value.status) == (False, 404)


async def test_an_id_cannot_leave_its_place_in_the_path(harness: CloudflareHarness) -> None:
    with pytest.raises(UpstreamFailed):
        await harness.client().tunnel_configuration(f"{ACCOUNT_ID}/cfd_tunnel/{TUNNEL_ID}/configurations?", "../x")
    assert [entry["path"] for entry in harness.sandbox.requests if entry["status"] == 200] == []


async def test_a_wrong_token_is_reported_with_its_required_rights_and_without_its_value(
    harness: CloudflareHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UpstreamFailed, match="Cloudflare Tunnel > Edit") as caught:
        await _get(harness, "cfat-wrong-token-123456")
    assert not caught.value.retryable
    assert "10000: Authentication error" in caught.value.detail
    assert "wrong-token" not in _problems(caught.value) + caplog.text


async def test_a_token_that_the_answer_repeats_is_redacted(harness: CloudflareHarness) -> None:
    await harness.order(kind="status", status=400, message=f"bad token {TOKEN}!")
    with pytest.raises(UpstreamFailed) as caught:
        await _get(harness)
    assert "bad token ********!" in caught.value.detail
    assert TOKEN not in _problems(caught.value)


async def test_a_configuration_that_cloudflare_refuses_changes_nothing(harness: CloudflareHarness) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await harness.client().put_tunnel_configuration(ACCOUNT_ID, TUNNEL_ID, {"ingress": THEIRS["ingress"][:1]})
    assert (caught.value.retryable, caught.value.status) == (False, 400)
    assert "The last ingress rule must match all URLs" in caught.value.detail
    assert harness.config() == THEIRS


@pytest.mark.parametrize(
    ("fault", "retryable"),
    [
        ({"kind": "status", "status": 500}, True),
        ({"kind": "status", "status": 503}, True),
        ({"kind": "status", "status": 429, "code": 971}, True),
        ({"kind": "status", "status": 400}, False),
        ({"kind": "status", "status": 401}, False),
        ({"kind": "status", "status": 403}, False),
        ({"kind": "status", "status": 409}, False),
        ({"kind": "rubbish"}, True),
        # aiohttp itself asks once more where a connection is cut under a GET or a PUT.
        ({"kind": "reset", "times": 2}, True),
    ],
)
async def test_each_failure_is_retryable_or_not(
    harness: CloudflareHarness, fault: dict[str, Any], retryable: bool
) -> None:
    await harness.order(**fault)
    with pytest.raises(UpstreamFailed) as caught:
        await _get(harness)
    assert caught.value.retryable is retryable
    assert caught.value.code == ("upstream_failed" if retryable else "cloudflare_refused")
    assert await _get(harness) == THEIRS


async def test_a_put_whose_answer_is_lost_may_be_repeated(harness: CloudflareHarness) -> None:
    config = {"ingress": [CATCH_ALL]}
    await harness.order(kind="lost", method="PUT", times=2)
    with pytest.raises(UpstreamFailed) as caught:
        await harness.client().put_tunnel_configuration(ACCOUNT_ID, TUNNEL_ID, config)
    assert caught.value.retryable
    assert await harness.client().put_tunnel_configuration(ACCOUNT_ID, TUNNEL_ID, config) == config


async def test_a_refused_connection_to_cloudflare_is_retryable() -> None:
    async with aiohttp.ClientSession() as session:
        client = Cloudflare(session, Secret(TOKEN), api_base=f"http://127.0.0.1:{unused_port()}")
        with pytest.raises(UpstreamFailed, match="cannot be reached") as caught:
            await client.tunnel_configuration(ACCOUNT_ID, TUNNEL_ID)
    assert caught.value.retryable
    assert TOKEN not in _problems(caught.value)


_OK = {"success": True, "errors": [], "messages": []}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        None,
        {"result": {"config": {"ingress": []}}},
        {**_OK, "success": "true", "result": {"config": {}}},
        {**_OK, "success": False, "result": {"config": {}}},
        {**_OK, "result": None},
        {**_OK, "result": []},
        {**_OK, "result": {"config": [1]}},
        {**_OK, "result": {"config": {"ingress": {"a": 1}}}},
        {**_OK, "result": {"config": {"ingress": ["a"]}}},
        {**_OK, "result": {"config": {}, "tunnel_id": "00000000-0000-0000-0000-000000000000"}},
    ],
)
async def test_an_answer_of_another_shape_is_no_configuration(answer: object) -> None:
    """What is read is merged and written back: taking rubbish for "no rules" would delete everybody's."""
    await _refused(web.json_response(answer))


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    assert not (await _refused(web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}))).retryable


async def test_an_endless_answer_is_cut() -> None:
    await _refused(web.Response(body=b" " * (5 * 1024 * 1024)))


async def _refused(response: web.Response) -> UpstreamFailed:
    async def answer(request: web.Request) -> web.Response:
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        client = Cloudflare(session, Secret(TOKEN), api_base=str(server.make_url("/client/v4")))
        with pytest.raises(UpstreamFailed) as caught:
            await client.tunnel_configuration(ACCOUNT_ID, TUNNEL_ID)
    return caught.value
