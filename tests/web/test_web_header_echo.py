"""`/.skpayments/arrived` on the public listener: names of headers, once for each token."""

from __future__ import annotations

import time

import pytest
from servers.running import ADMIN_TOKEN, GATE_SECRET, Running

from gateway.access.header_echo_tokens import header_echo_keys, make_echo_token
from gateway.settings import Secret

KEY = header_echo_keys((Secret(ADMIN_TOKEN),))[0]
HEADERS = {
    "X-Sk-Tier": "pro",
    "X_SK_Tier": "forged-n1",
    "X.Forwarded.For": "n1",
    "X-Forwarded-Host": "chat.example.com",
    "X-SK-Gate": GATE_SECRET,
    "Forwarded": "for=n1",
    "Cookie": "token=n1",
    "Authorization": "Bearer n1",
    "X-Task": "n1",
}


async def requested(running: Running, text: str, app_id: str = "skai", **headers: str) -> tuple[int, object]:
    path = f"/.skpayments/arrived?app={app_id}&pass={text}"
    return await running.json("GET", path, None, headers={"Host": "chat.example.com", **headers})


async def test_a_token_shows_header_names_and_forgeries_without_values(running: Running) -> None:
    status, result = await requested(running, make_echo_token(KEY, "skai", "n1", int(time.time())), **HEADERS)
    assert status == 200
    assert isinstance(result, dict)
    headers = {each["name"]: each["forged"] for each in result.pop("headers")}
    assert headers == {
        "X-Sk-Tier": False, "X_SK_Tier": True, "X.Forwarded.For": True, "X-Forwarded-Host": False, "X-SK-Gate": False,
        "Forwarded": True,
    }  # fmt: skip
    assert result == {"app_id": "skai", "host": "chat.example.com"}


async def test_a_token_is_valid_once(running: Running) -> None:
    text = make_echo_token(KEY, "skai", "n2", int(time.time()))
    assert [(await requested(running, text))[0] for _ in range(2)] == [200, 404]
    assert (await requested(running, make_echo_token(KEY, "skai", "n3", int(time.time()))))[0] == 200


@pytest.mark.parametrize(
    ("key", "age", "app_id"),
    [(b"another key of thirty-two bytes!!", 0, "skai"), (KEY, 61, "skai"), (KEY, 0, "blog"), (KEY, 0, "")],
)
async def test_without_a_valid_token_it_is_not_found(running: Running, key: bytes, age: int, app_id: str) -> None:
    status, result = await requested(running, make_echo_token(key, "skai", "n4", int(time.time()) - age), app_id)
    assert status == 404
    assert result == {"error": "not_found", "message": "There is nothing at this address."}
    assert (await requested(running, "", app_id))[0] == 404
