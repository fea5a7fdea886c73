"""The buyer's page in a real browser, behind the real Traefik: by keyboard, on a phone, in the dark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from servers.browser import ENTER, Browser
from servers.found import require

from gateway.cli.demo_stage import Stage, open_stage

pytestmark = [pytest.mark.needs_chromium, pytest.mark.needs_traefik, pytest.mark.asyncio(loop_scope="module")]

FITS = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
HEIGHTS = "return [...document.querySelectorAll('button, a')].filter(e => !e.hidden).map(e => e.offsetHeight)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stage for all: each test signs in as somebody else."""
    require("traefik")
    async with open_stage(tmp_path_factory.mktemp("stage"), lambda line: None, for_clicks=False) as opened:
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
async def test_a_link_that_is_over_says_what_to_do_and_leads_back(browser: Browser, stage: Stage, query: str) -> None:
    await browser.go(f"{stage.pay_url}/buy/skai{query}")
    text = await browser.until_text("not valid any more")
    assert "open “Upgrade” again" in text
    assert await browser.names("button, a") == ["Back to Sample chat"]
    await browser.tab_to("Back to Sample chat")
    await browser.press(ENTER)
    await browser.until_text("Your name")
