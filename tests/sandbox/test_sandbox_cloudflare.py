"""The sandbox Cloudflare does what the facts say the real one does, traps included; asked without our client."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from gateway.sandbox.cloudflare import CloudflareSandbox

TOKEN = "sandbox-cloudflare-token"
PATH = "/client/v4/accounts/a1/cfd_tunnel/t1/configurations"
CATCH_ALL = {"service": "http_status:404"}
CONFIG: dict[str, Any] = {"ingress": [{"hostname": "a.example", "service": "http://a:80"}, CATCH_ALL]}


class SandboxClient:
    """The sandbox and how to ask it."""

    def __init__(self, sandbox: CloudflareSandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def ask(
        self, method: str, body: object = None, *, path: str = PATH, authorization: str = f"Bearer {TOKEN}"
    ) -> tuple[int, Any]:
        headers = {"Authorization": authorization} if authorization else {}
        async with self.session.request(method, path, json=body, headers=headers) as response:
            return response.status, await response.json()


@pytest.fixture
async def client() -> AsyncIterator[SandboxClient]:
    sandbox = CloudflareSandbox(TOKEN)
    sandbox.add_tunnel("a1", "t1", CONFIG)
    async with (
        TestServer(sandbox.application()) as server,
        aiohttp.ClientSession(base_url=server.make_url("/")) as session,
    ):
        yield SandboxClient(sandbox, session)


async def test_get_gives_the_configuration_in_the_envelope(client: SandboxClient) -> None:
    status, body = await client.ask("GET")
    assert (status, body["success"], body["errors"], body["messages"]) == (200, True, [], [])
    assert set(body["result"]) == {"account_id", "config", "created_at", "source", "tunnel_id", "version"}
    assert body["result"]["config"] == CONFIG


async def test_put_replaces_the_whole_document(client: SandboxClient) -> None:
    """The trap: whoever sends only their own rule deletes everybody else's."""
    status, body = await client.ask("PUT", {"config": {"ingress": [CATCH_ALL], "warp-routing": {"enabled": True}}})
    assert (status, body["result"]["version"]) == (200, 1)
    assert (await client.ask("GET"))[1]["result"]["config"] == {
        "ingress": [CATCH_ALL],
        "warp-routing": {"enabled": True},
    }


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        CONFIG,
        {"config": []},
        {"config": {}},
        {"config": {"ingress": []}},
        {"config": {"ingress": CONFIG["ingress"][:1]}},
        {"config": {"ingress": [{"path": "/x", "service": "http_status:404"}]}},
        {"config": {"ingress": [CATCH_ALL, *CONFIG["ingress"]]}},
        {"config": {"ingress": [{"hostname": "a.example"}, CATCH_ALL]}},
        {"config": {"ingress": [{"hostname": "a.example:80", "service": "http://a"}, CATCH_ALL]}},
        {"config": {"ingress": [{"hostname": "a.example", "service": "http://a/path"}, CATCH_ALL]}},
        {"config": {"ingress": [{"hostname": "a.example", "service": "a:80"}, CATCH_ALL]}},
        {"config": {"ingress": [CATCH_ALL], "originRequest": {"connectTimeout": "30s"}}},
        {"config": {"ingress": [{**CATCH_ALL, "originRequest": {"tlsTimeout": "10s"}}]}},
    ],
)
async def test_a_configuration_that_cloudflared_could_not_load_is_refused(client: SandboxClient, body: object) -> None:
    status, answer = await client.ask("PUT", body)
    assert (status, answer["success"], answer["result"]) == (400, False, None)
    assert answer["errors"][0]["code"] == 1056
    assert client.sandbox.config("a1", "t1") == CONFIG


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [("", 400, 6003), ("Bearer ", 400, 6003), ("Basic eA==", 400, 6003), ("Bearer wrong", 403, 10000)],
)
async def test_the_token_is_checked_first(client: SandboxClient, authorization: str, status: int, code: int) -> None:
    for method in ("GET", "PUT"):
        got, answer = await client.ask(method, {"config": {"ingress": [CATCH_ALL]}}, authorization=authorization)
        assert (got, answer["errors"][0]["code"], answer["result"]) == (status, code, None)
    assert client.sandbox.config("a1", "t1") == CONFIG


async def test_another_tunnel_method_or_path_is_refused(client: SandboxClient) -> None:
    assert (await client.ask("GET", path=PATH.replace("t1", "t2")))[0] == 404
    assert (await client.ask("GET", path=PATH.replace("a1", "a2")))[0] == 404
    assert (await client.ask("DELETE"))[0] == 405
    assert (await client.ask("GET", path="/client/v4/accounts"))[1]["errors"][0]["code"] == 7003


async def test_a_fault_is_ordered_counted_down_and_cleared(client: SandboxClient) -> None:
    control = {"path": "/_sandbox/faults", "authorization": ""}
    await client.ask("POST", {"kind": "status", "status": 503, "method": "PUT", "times": 2}, **control)
    assert (await client.ask("GET"))[0] == 200
    assert (await client.ask("PUT", {"config": CONFIG}))[0] == 503
    assert (await client.ask("GET", **control))[1][0]["times"] == 1
    await client.ask("DELETE", **control)
    assert (await client.ask("PUT", {"config": CONFIG}))[0] == 200


async def test_a_fault_that_there_is_not_is_refused(client: SandboxClient) -> None:
    for fault in ({"kind": "earthquake"}, {"kind": "status", "colour": 1}, [], 7):
        assert (await client.ask("POST", fault, path="/_sandbox/faults", authorization=""))[0] == 400


async def test_a_lost_answer_has_done_its_work_and_a_reset_has_not(client: SandboxClient) -> None:
    wanted = {"ingress": [CATCH_ALL]}
    for kind, kept in (("reset", CONFIG), ("lost", wanted)):
        # aiohttp itself asks once more where a connection is cut under a PUT.
        await client.ask("POST", {"kind": kind, "times": 2}, path="/_sandbox/faults", authorization="")
        with pytest.raises(aiohttp.ClientError):
            await client.ask("PUT", {"config": wanted})
        assert client.sandbox.config("a1", "t1") == kept


async def test_a_slow_answer_is_an_answer(client: SandboxClient) -> None:
    await client.ask("POST", {"kind": "slow", "seconds": 0.01}, path="/_sandbox/faults", authorization="")
    assert (await client.ask("GET"))[0] == 200


async def test_the_log_of_requests_holds_no_token(client: SandboxClient) -> None:
    await client.ask("GET")
    status, entries = await client.ask("GET", path="/_sandbox/requests", authorization="")
    assert (status, entries) == (200, [{"method": "GET", "path": PATH, "status": 200}])


def test_t12_the_sandbox_imports_nothing_of_the_product_but_its_log() -> None:
    import gateway.sandbox.cloudflare as room

    for file in Path(room.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gateway"):
                assert node.module.startswith("gateway.sandbox.cloudflare") or node.module == "gateway.log", (
                    f"{file.name} imports {node.module}"
                )
