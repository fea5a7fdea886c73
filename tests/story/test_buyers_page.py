"""The buyer's page in a real browser, behind the real Traefik: by keyboard, on a phone, in the dark."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from servers.browser import ENTER, Browser
from servers.found import require

from gateway.access import links
from gateway.sandbox.demo.stage import Stage, open_stage
from gateway.settings import Secret

pytestmark = [pytest.mark.needs_chromium, pytest.mark.needs_traefik, pytest.mark.asyncio(loop_scope="module")]

FITS = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
HEIGHTS = "return [...document.querySelectorAll('button, a')].filter(e => !e.hidden).map(e => e.offsetHeight)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stage for all: each test signs in as somebody else."""
    require("traefik")
    async with open_stage(tmp_path_factory.mktemp("stage"), lambda line: None, fixed_ports=False) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with Browser() as opened:
        yield opened


async def at_the_plans(browser: Browser, stage: Stage, name: str) -> None:
    """Sign in at the app by keyboard and follow its upgrade link."""
    await browser.go(f"{stage.app_url}/")
    await browser.press(*name, ENTER)
    await browser.until_text(f"Hello, {name}")
    await browser.tab_to("Upgrade")
    await browser.press(ENTER)
    await browser.until_text("You have Free")


async def test_a_person_buys_pro_with_the_keyboard_alone(browser: Browser, stage: Stage) -> None:
    await at_the_plans(browser, stage, "Ada")
    text = await browser.until_text("Enterprise")
    for part in ("$20 per month", "or $200 per year", "Images", "60 requests a minute", "Your plan"):
        assert part in text
    assert "Sovereign" not in text
    await browser.tab_to("Get Pro, by the month")
    await browser.press(ENTER)
    await browser.until_text("Pay")
    assert (await browser.url()).startswith(stage.stripe_url)
    await browser.run("document.querySelector('button[value=pay], button[name=action]').focus()")
    await browser.press(ENTER)
    for _ in range(100):
        await browser.go(f"{stage.app_url}/")
        if "\npro" in (text := await browser.text()):
            break
    assert "\npro" in text
    await browser.go(f"{stage.app_url}/.skpayments/upgrade")
    text = await browser.until_text("You have Pro.")
    assert await browser.names("button") == ["Change to Enterprise", "Manage billing"]
    await browser.tab_to("Manage billing")
    await browser.press(ENTER)
    await browser.until_text("Cancel")
    assert (await browser.url()).startswith(stage.stripe_url)
    assert await browser.errors() == []


@pytest.mark.parametrize("dark", [False, True])
async def test_on_a_phone_nothing_overflows_and_everything_can_be_hit(
    browser: Browser, stage: Stage, tmp_path: Path, dark: bool
) -> None:
    await browser.viewport(390, 844, mobile=True, dark=dark)
    await at_the_plans(browser, stage, "Bea")
    assert await browser.run(FITS)
    heights = await browser.run(HEIGHTS)
    assert len(heights) >= 4
    assert min(heights) >= 44
    assert await browser.run("return document.documentElement.lang") == "en"
    names = await browser.names("button, a")
    assert all(names)
    assert len(set(names)) == len(names)
    await browser.viewport(320, 640, mobile=True, dark=dark)
    assert await browser.run(FITS)
    assert await browser.errors() == []  # the content policy breaks nothing
    await browser.screenshot(tmp_path / "phone.png")


async def test_the_link_leaves_the_address_bar_and_the_page_can_be_loaded_again(browser: Browser, stage: Stage) -> None:
    await at_the_plans(browser, stage, "Cy")
    assert await browser.url() == f"{stage.pay_url}/buy/skai"
    await browser.reload()
    await browser.until_text("You have Free")
    assert await browser.url() == f"{stage.pay_url}/buy/skai"
    assert await browser.errors() == []


@pytest.mark.parametrize("query", ["", "?t=1.bm90aGluZw.bm90aGluZw"])
async def test_an_expired_link_explains_what_to_do_and_leads_back(browser: Browser, stage: Stage, query: str) -> None:
    await browser.go(f"{stage.pay_url}/buy/skai{query}")
    text = await browser.until_text("not valid any more")
    assert "open “Upgrade” again" in text
    assert await browser.names("button, a") == ["Open the plans again", "Back to Sample chat"]
    await browser.tab_to("Back to Sample chat")
    await browser.press(ENTER)
    await browser.until_text("Your name")


async def pay(browser: Browser, stage: Stage) -> None:
    await browser.until_text("Pay")
    assert (await browser.url()).startswith(stage.stripe_url)
    await browser.run("document.querySelector('button[value=pay], button[name=action]').focus()")
    await browser.press(ENTER)


async def sign_in(browser: Browser, stage: Stage, name: str) -> None:
    await browser.go(f"{stage.app_url}/")
    await browser.press(*name, ENTER)
    await browser.until_text(f"Hello, {name}")


async def until_url(browser: Browser, url: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while await browser.url() != url:
        assert time.monotonic() < deadline, f"{url} not reached, but {await browser.url()}: {await browser.text()}"


async def test_a_refused_user_sees_why_pays_and_returns_to_the_page(browser: Browser, stage: Stage) -> None:
    await sign_in(browser, stage, "Dan")
    paid_page = f"{stage.app_url}/reports/2026?part=b%2Fc&x=1"
    await browser.go(paid_page)
    text = await browser.until_text("You have Free.")
    assert "The page that you opened in Sample chat needs Pro." in text
    assert await browser.run("return [...document.querySelectorAll('.needed h2')].map(e => e.innerText)") == [
        "Pro\nNeeded"
    ]
    await browser.tab_to("Get Pro, by the month")
    await browser.press(ENTER)
    await pay(browser, stage)
    await browser.until_text("You have Pro now. Taking you back to Sample chat")
    await until_url(browser, paid_page)
    await browser.go(f"{stage.app_url}/.skpayments/upgrade")
    assert "It renews on" in await browser.until_text("You have Pro.")
    await browser.tab_to("Change to Enterprise")
    await browser.press(ENTER)
    await browser.until_text("Confirm")
    assert (await browser.url()).startswith(stage.stripe_url)
    await browser.run("document.querySelector('button[name=action]').focus()")
    await browser.press(ENTER)
    await browser.until_text("You have Enterprise now.")
    await until_url(browser, f"{stage.app_url}/?upgraded=1")
    assert await browser.errors() == []


async def test_a_page_whose_link_ends_has_no_live_button_and_one_click_leads_to_a_fresh_one(
    browser: Browser, stage: Stage
) -> None:
    await sign_in(browser, stage, "Eve")
    await browser.go(f"{stage.app_url}/.skpayments/upgrade?back=/reports/7")
    await browser.until_text("needs Pro")
    user_id = (
        await browser.run(
            "return fetch('/buy/skai/offer', {headers: {Authorization: "
            "`Bearer ${sessionStorage.getItem('link skai')}`}}).then(a => a.json())"
        )
    )["user_id"]
    key = links.link_keys((Secret(stage.environ["GATE_SECRET"]),))[0]
    back = f"{stage.app_url}/reports/7"
    link = links.sign(key, "skai", user_id, int(time.time()), 4, return_url=back, tier="pro")
    await browser.go(f"{stage.pay_url}/buy/skai?t={link}")
    await browser.until_text("You have Free.")
    assert "Get Enterprise" in await browser.names("button")
    await browser.until_text("open for a while", seconds=15)
    assert await browser.names("button") == []
    await browser.tab_to("Open the plans again")
    await browser.press(ENTER)
    text = await browser.until_text("You have Free.")
    assert "needs Pro" in text
    assert "Get Enterprise" in await browser.names("button")


FREE: dict[str, Any] = {
    "tier": "free", "status": None, "source": "default", "until": None, "ends_at": None, "period_end": None,
    "renews": None,
}  # fmt: skip
PAID = {**FREE, "tier": "pro", "status": "active", "source": "subscription", "renews": True}
SOON = 4_000_000_000
FAILED = "The last payment failed: please check your card under “Manage billing”."


STANDINGS: list[tuple[dict[str, Any], object, str]] = [
    ({**FREE, "status": "canceled", "ends_at": 1_700_000_000}, None, "You have X."),
    ({**FREE, "status": "canceled", "ends_at": SOON}, None, "You have X."),
    ({**PAID, "ends_at": SOON, "renews": False}, None, "You have X until October 2, 2096. It will not renew."),
    ({**PAID, "period_end": SOON}, None, "You have X. It renews on October 2, 2096."),
    (PAID, {"at": SOON, "tier": "plus", "name": "Plus"}, "You have X. From October 2, 2096 you will have Plus."),
    ({**PAID, "source": "grant"}, None, "You have X."),
    (
        {**PAID, "status": "past_due", "until": SOON},
        None,
        f"{FAILED} You keep X until October 2, 2096.",
    ),
]


async def test_the_page_shows_the_users_tier(browser: Browser, stage: Stage) -> None:
    await browser.go(f"{stage.pay_url}/buy/skai")
    script = "return import('/assets/words.js').then(words => words.standing(arguments[0]))"
    for current, pending, text in STANDINGS:
        assert await browser.run(script, {"current": current, "current_name": "X", "pending": pending}) == text


AMOUNTS = [
        (240000, "isk", 2, "ISK 2,400"), (240050, "isk", 2, "ISK 2,400.50"), (500, "ugx", 2, "UGX 5"),
        (500, "jpy", 0, "¥500"), (5120, "kwd", 3, "KWD 5.120"), (2000, "usd", 2, "$20"), (1999, "huf", 2, "HUF 19.99"),
        (1050, "mga", 0, "MGA 1,050"), (100000, "clp", 0, "CLP 100,000"),
    ]  # fmt: skip


async def test_an_amount_has_stripes_decimals_not_the_browsers(browser: Browser, stage: Stage) -> None:
    await browser.go(f"{stage.pay_url}/buy/skai")
    script = "return import('/assets/words.js').then(words => words.money(arguments[0]))"
    for unit_amount, currency, digits, shown in AMOUNTS:
        price = {"unit_amount": unit_amount, "currency": currency, "decimals": digits}
        assert str(await browser.run(script, price)).replace("\u00a0", " ") == shown
