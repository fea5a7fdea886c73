"""The demo's sample app: its session is Open WebUI's, and it shows what it got, escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import jwt
import pytest

from gateway.sandbox.demo.sample_app import sample_app, session_token, user_id_of

SECRET = "a-secret-of-the-sample-app-0123456789"
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def client(aiohttp_client: Any) -> Any:
    return await aiohttp_client(sample_app(SECRET, "Sample <chat>"))


async def test_signing_in_sets_the_session_that_open_webui_sets(client: Any) -> None:
    response = await client.post("/sign-in", data={"name": "Ada"}, headers=HTML, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/")
    cookie = response.cookies["token"]
    claims = jwt.decode(cookie.value, SECRET, algorithms=["HS256"], options={"require": ["exp", "iat", "jti"]})
    assert claims["id"] == user_id_of("Ada")
    assert claims["typ"] == "session"
    assert claims["exp"] - claims["iat"] == 2419200
    assert cookie["httponly"]
    assert (cookie["path"], cookie["samesite"]) == ("/", "Lax")


async def test_the_home_page_greets_and_shows_the_tags(client: Any) -> None:
    await client.post("/sign-in", data={"name": "Ada"})
    response = await client.get("/", headers={**HTML, "X-SK-Tier": "pro", "X-SK-User": "<b>u1</b>"})
    page = await response.text()
    assert "Hello, <strong>Ada</strong>" in page
    assert '<p class="tier">pro</p>' in page
    assert "&lt;b&gt;u1&lt;/b&gt;" in page
    assert "<b>u1</b>" not in page
    assert "Sample &lt;chat&gt;" in page
    assert {"/.skpayments/upgrade", "/reports"} <= _Links(page).found


async def test_without_a_session_the_home_page_asks_to_sign_in(client: Any) -> None:
    response = await client.get("/", headers=HTML, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/sign-in")


@pytest.mark.parametrize(
    "token",
    [
        "rubbish",
        "a.b.c",
        "..",
        session_token("another-secret-of-somebody-else-01234", "u1", 2_000_000_000),
        session_token(SECRET, "u1", 1_000_000_000),
    ],
)
async def test_a_foreign_or_expired_session_is_refused(client: Any, token: str) -> None:
    response = await client.get("/", headers={**HTML, "Cookie": f"token={token}"}, allow_redirects=False)
    assert response.status == 303


async def test_signing_out_drops_the_session(client: Any) -> None:
    await client.post("/sign-in", data={"name": "Ada"})
    response = await client.post("/sign-out", allow_redirects=False)
    assert response.cookies["token"]["max-age"] == "0"
    response = await client.get("/", headers=HTML, allow_redirects=False)
    assert response.headers["Location"] == "/sign-in"


@pytest.mark.parametrize("name", ["", "   ", "<script>", "x" * 65, "a\nb"])
async def test_a_name_that_is_none_is_refused_kindly(client: Any, name: str) -> None:
    response = await client.post("/sign-in", data={"name": name}, headers=HTML)
    assert response.status == 400
    assert 'role="alert"' in await response.text()
    assert "token" not in response.cookies


@pytest.mark.parametrize("path", ["/echo?a=b", "/reports", "/any/where", "/"])
async def test_a_program_gets_what_arrived_as_json(client: Any, path: str) -> None:
    response = await client.request("POST" if path != "/" else "GET", path, headers={"X-SK-Tier": "pro", "x-a": "1"})
    answer = await response.json()
    assert answer["path"] == path
    assert ["X-SK-Tier", "pro"] in answer["headers"]
    assert ["x-a", "1"] in answer["headers"]


async def test_a_header_sent_twice_is_shown_twice(client: Any) -> None:
    response = await client.get("/echo", headers=[("X-SK-Tier", "pro"), ("X-SK-Tier", "free")])
    headers = (await response.json())["headers"]
    assert [value for name, value in headers if name == "X-SK-Tier"] == ["pro", "free"]


async def test_a_browser_gets_a_page_for_the_paid_path(client: Any) -> None:
    response = await client.get("/reports", headers={**HTML, "X-SK-Tier": "pro"})
    assert response.content_type == "text/html"
    assert "You are in" in await response.text()


async def test_every_field_has_a_label_and_the_page_fits_a_phone(client: Any) -> None:
    page = await (await client.get("/sign-in", headers=HTML)).text()
    assert 'name="viewport"' in page
    assert 'lang="en"' in page
    assert '<label for="name">' in page
    assert "<script" not in page


class _Links(HTMLParser):
    """Where a page's links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.add(dict(attrs).get("href") or "")
