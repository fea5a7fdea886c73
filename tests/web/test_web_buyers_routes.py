"""The buyer's routes: the user comes from the gate's signature, and only our own page may call them."""

from __future__ import annotations

import logging
import time

import pytest
from servers.running import ADMIN_TOKEN, GATE_SECRET, PUBLIC_URL, SKAI_KEY, Running, running_application

from gateway.access.links import LIFETIME_SECONDS
from gateway.web.context import Site

FROM_OUR_PAGE = {"Origin": PUBLIC_URL, "Sec-Fetch-Site": "same-origin"}
ROUTES = [("GET", "offer", None), ("POST", "checkout", {"tier": "pro"}), ("POST", "portal", None)]


async def test_the_page_is_static_and_runs_only_our_script(running: Running) -> None:
    async with running.call("GET", f"/buy/skai?t={running.link('u1')}", None) as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert answer.status == 200
    assert answer.content_type == "text/html"
    assert "u1" not in page
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page
    for name, kind in (("buy.js", "text/javascript"), ("buy.css", "text/css")):
        async with running.call("GET", f"/assets/{name}", None) as answer:
            assert (answer.status, answer.content_type) == (200, kind)


async def test_the_offer_shows_tiers_for_sale_and_the_current_tier(running: Running) -> None:
    status, offer = await running.json("GET", "/buy/skai/offer", running.link("u1"))
    assert status == 200
    assert offer["user_id"] == "u1"
    assert [tier["id"] for tier in offer["tiers"]] == ["free", "pro", "enterprise"]  # the internal one is not shown
    assert (offer["current"]["tier"], offer["subscribed"], offer["has_customer"]) == ("free", False, False)
    assert offer["app"] == {"id": "skai", "name": "SKAI", "url": "https://chat.example.com/"}


async def test_a_buyer_buys_and_manages_as_the_user_of_the_link(running: Running) -> None:
    link = running.link("ünï/1")
    status, answer = await running.json("POST", "/buy/skai/checkout", link, json={"tier": "pro"}, headers=FROM_OUR_PAGE)
    assert (status, answer["kind"]) == (200, "checkout")
    (session,) = running.stripe.snapshot()["checkout.session"]
    assert session["client_reference_id"] == "ünï/1"
    status, answer = await running.json("POST", "/buy/skai/portal", link, headers=FROM_OUR_PAGE)
    assert (status, list(answer)) == (200, ["portal_url"])


@pytest.mark.parametrize(("method", "action", "body"), ROUTES)
async def test_only_a_valid_link_of_this_app_is_accepted(
    running: Running, method: str, action: str, body: object
) -> None:
    good = running.link("u1")
    bad = {
        "none": None, "empty": "", "forged": running.link("u1", key="another-gate-secret"), "cut": good[:-3],
        "of another app": running.link("u1", "blog"),
        "expired": running.link("u1", now=time.time() - LIFETIME_SECONDS - 1),
        "an app key": SKAI_KEY, "the admin token": ADMIN_TOKEN, "the gate's secret": GATE_SECRET,
        "other payload": ".".join([*running.link("u2").split(".")[:2], good.split(".")[2]]), "not ASCII": "1.\xff.\xfe",
    }  # fmt: skip
    for what, link in bad.items():
        status, answer = await running.json(method, f"/buy/skai/{action}", link, json=body, headers=FROM_OUR_PAGE)
        assert status == 401, what
        assert "open “Upgrade” again" in answer["message"], what  # for people: what to do
        assert answer["app"] == {"name": "SKAI", "url": "https://chat.example.com/"}
        assert answer["error"] == ("link_expired" if what == "expired" else answer["error"])
    assert not running.stripe.snapshot()["checkout.session"]


@pytest.mark.parametrize(("method", "action", "body"), ROUTES)
async def test_another_page_cannot_act_for_the_buyer(running: Running, method: str, action: str, body: object) -> None:
    link = running.link("u1")
    foreign = [{"Origin": PUBLIC_URL, "Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
    if method == "POST":
        foreign += [
            {}, {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Origin": "https://chat.example.com"},
            {"Origin": PUBLIC_URL + ".evil.example"}, {"Origin": "http://pay.example.com"},
            {"Origin": PUBLIC_URL + ":8443"},
        ]  # fmt: skip
    for headers in foreign:
        status, answer = await running.json(method, f"/buy/skai/{action}", link, json=body, headers=headers)
        assert (status, answer["error"]) == (403, "foreign_origin"), headers
    assert not running.stripe.snapshot()["checkout.session"]


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://Pay.Example.com", "https://pay.example.com"), ("https://pay.example.com:443", "https://pay.example.com"),
        ("http://pay.localhost:8000", "http://pay.localhost:8000"), ("https://zahlen-für.example", "https://xn--zahlen-fr-x9a.example"),
    ],
)  # fmt: skip
def test_our_origin_is_normalised_as_browsers_do(public_url: str, origin: str) -> None:
    async def nothing() -> None:
        return None

    site = Site(
        admin_tokens=(), gate_secrets=(), public_url=public_url, link_keys=(), readiness=dict, reload_catalog=nothing,
        jwks=dict, first_seen=lambda *_: True, explain_gate=lambda *_: {}, metrics=str, gate_report=lambda _: None,
    )  # fmt: skip
    assert site.origin == origin


async def test_only_tiers_for_sale_can_be_bought(running: Running) -> None:
    for tier, status in (("sovereign", 400), ("free", 400), ("gold", 404)):
        answered, _ = await running.json(
            "POST", "/buy/skai/checkout", running.link("u1"), json={"tier": tier}, headers=FROM_OUR_PAGE
        )
        assert answered == status


async def test_a_price_is_bought_as_shown_or_refused(running: Running) -> None:
    link = running.link("u1")
    _, offer = await running.json("GET", "/buy/skai/offer", link)
    [shown] = offer["tiers"][1]["prices"]
    form = {"tier": "pro"} | {name: value for name, value in shown.items() if name != "decimals"}
    for changed, expected in (({"unit_amount": 1}, 409), ({}, 200)):
        status, answer = await running.json(
            "POST", "/buy/skai/checkout", link, json=form | changed, headers=FROM_OUR_PAGE
        )
        assert status == expected, answer
    assert len(running.stripe.snapshot()["checkout.session"]) == 1


async def test_the_user_cannot_be_named_by_a_parameter(running: Running) -> None:
    body = {"tier": "pro", "user_id": "victim"}
    status, _ = await running.json("POST", "/buy/skai/checkout", running.link("u1"), json=body, headers=FROM_OUR_PAGE)
    assert status == 400
    _, offer = await running.json("GET", "/buy/skai/offer?user_id=victim&t=x", running.link("u1"))
    assert offer["user_id"] == "u1"


async def test_the_portal_before_the_first_checkout_is_not_found(running: Running) -> None:
    status, answer = await running.json("POST", "/buy/skai/portal", running.link("u1"), headers=FROM_OUR_PAGE)
    assert (status, answer["error"]) == (404, "no_customer")


async def test_a_link_is_never_logged(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_application(tmp_path_factory.mktemp("links")) as running:
        link, expired = running.link("u1"), running.link("u1", now=0)
        for token in (link, expired):
            for path in (
                f"/buy/skai?t={token}",
                f"/buy/nope?t={token}",
                f"/nothing?t={token}",
                f"/buy/skai/offer?t={token}",
            ):
                async with running.call("GET", path, token) as answer:
                    await answer.read()
            await running.json("POST", "/buy/skai/checkout", token, json={"tier": "pro"}, headers=FROM_OUR_PAGE)
        running.stripe.fault("status", times=20)
        await running.json("POST", "/buy/skai/portal", link, headers=FROM_OUR_PAGE)
    written = "\n".join(
        f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name != "asyncio"
    )
    assert "u1" in written  # something was logged at all
    for token in (link, expired):
        assert token.split(".")[2] not in written


REPORTS = "https://chat.example.com/reports/7?x=1"


def change_token(running: Running) -> str:
    """The return link of the newest session."""
    session = running.stripe.snapshot()["checkout.session"][-1]
    address, _, token = session["success_url"].partition("?r=")
    assert address == f"{PUBLIC_URL}/buy/skai"
    return str(token)


async def test_the_page_after_checkout_shows_the_chosen_tier(running: Running) -> None:
    link = running.link("u1", return_url=REPORTS, tier="pro")
    status, offer = await running.json("GET", "/buy/skai/offer", link)
    assert (status, offer["required_tier"], offer["return_url"]) == (200, {"id": "pro", "name": "Pro"}, REPORTS)
    assert offer["upgrade_url"] == "https://chat.example.com/.skpayments/upgrade?back=/reports/7%3Fx%3D1"
    assert 590 <= offer["expires_in_seconds"] <= LIFETIME_SECONDS
    await running.json("POST", "/buy/skai/checkout", link, json={"tier": "pro"}, headers=FROM_OUR_PAGE)
    status, change = await running.json("GET", "/buy/skai/change", change_token(running))
    assert (status, change["changed"], change["tier"]["id"], change["return_url"]) == (200, False, "pro", REPORTS)
    # The same purchase from the same page reuses the session; from another page it opens one that returns there.
    second = await running.json("POST", "/buy/skai/checkout", link, json={"tier": "pro"}, headers=FROM_OUR_PAGE)
    assert len(running.stripe.snapshot()["checkout.session"]) == 1
    other = await running.json(
        "POST", "/buy/skai/checkout", running.link("u1"), json={"tier": "pro"}, headers=FROM_OUR_PAGE
    )
    assert second[1]["checkout_url"] != other[1]["checkout_url"]
    _, change = await running.json("GET", "/buy/skai/change", change_token(running))
    assert change["return_url"] == "https://chat.example.com/?upgraded=1"


async def test_a_return_link_allows_nothing_else(running: Running) -> None:
    link = running.link("u1")
    await running.json("POST", "/buy/skai/checkout", link, json={"tier": "pro"}, headers=FROM_OUR_PAGE)
    token = change_token(running)
    for method, action, body in ROUTES:
        status, answer = await running.json(method, f"/buy/skai/{action}", token, json=body, headers=FROM_OUR_PAGE)
        assert (status, answer["error"]) == (401, "bad_signature")
    status, answer = await running.json("GET", "/buy/skai/change", link)
    assert (status, answer["error"]) == (401, "bad_signature")


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/", "//evil.example", "javascript:alert(1)", "https://chat.example.com.evil.example/",
     "https://chat.example.com@evil.example/", "https://evil.example\\@chat.example.com/", "ftp://chat.example.com/"],
)  # fmt: skip
async def test_no_link_leads_to_another_site(running: Running, url: str) -> None:
    """Only the gate signs addresses; one on a host that the app no longer has is ignored too."""
    link = running.link("u1", return_url=url)
    _, offer = await running.json("GET", "/buy/skai/offer", link)
    assert offer["return_url"] is None
    assert offer["upgrade_url"] == "https://chat.example.com/.skpayments/upgrade"
    await running.json("POST", "/buy/skai/checkout", link, json={"tier": "pro"}, headers=FROM_OUR_PAGE)
    _, change = await running.json("GET", "/buy/skai/change", change_token(running))
    assert change["return_url"] == "https://chat.example.com/?upgraded=1"


async def test_an_expired_link_names_the_page_for_a_new_one(running: Running) -> None:
    over = running.link("u1", now=time.time() - LIFETIME_SECONDS - 1, return_url=REPORTS)
    status, answer = await running.json("GET", "/buy/skai/offer", over)
    assert (status, answer["error"]) == (401, "link_expired")
    assert answer["upgrade_url"] == "https://chat.example.com/.skpayments/upgrade?back=/reports/7%3Fx%3D1"
    status, answer = await running.json("GET", "/buy/skai/offer", "1.x.y")
    assert answer["upgrade_url"] == "https://chat.example.com/.skpayments/upgrade"
