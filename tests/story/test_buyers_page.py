"""The buyer's page in a real browser: by mouse, by keyboard alone, on a phone, in the dark."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.browser import Browser, until
from servers.found import require

from gateway.cli.demo_stage import Stage, open_stage

pytestmark = [pytest.mark.needs_traefik, pytest.mark.needs_chromium]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demo's stage, kept open on a loop of its own for all tests of this file."""
    require("traefik")
    require("chromium")
    folder = tmp_path_factory.mktemp("demo")
    opened: list[Stage] = []
    failed: list[BaseException] = []
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def run() -> None:
        try:
            async with open_stage(folder, lambda line: None) as found:
                opened.append(found)
                ready.set()
                await stop.wait()
        except BaseException as exc:
            failed.append(exc)
            ready.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert ready.wait(90)
    if not opened:
        thread.join()
        loop.close()
        raise failed[0]
    yield opened[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as opened:
        yield opened


def _sign_in(browser: Browser, stage: Stage, name: str) -> None:
    browser.open(f"{stage.app_url}/sign-in")
    browser.find("input[name=name]").type(name)
    browser.find("button").click()
    browser.find("body", name)


def _at_the_plans(browser: Browser, stage: Stage) -> None:
    browser.open(f"{stage.app_url}/.skpayments/upgrade")
    browser.find("h2", "Enterprise")


def _tier_at_the_app(browser: Browser, stage: Stage) -> str:
    browser.open(f"{stage.app_url}/")
    return str(browser.run("return document.body.innerText"))


def test_a_person_buys_changes_plan_and_cancels(browser: Browser, stage: Stage) -> None:
    _sign_in(browser, stage, "Grace")
    _at_the_plans(browser, stage)
    assert "Sovereign" not in browser.text()
    assert "$20.00 per month" in browser.text()
    assert "You have Free." in browser.text()
    browser.find("button", "Get Pro, by the month").click()
    browser.find("button", "Pay").click()
    until(lambda: browser.url.startswith(f"{stage.app_url}/?upgraded=1"), "back at the app")
    until(lambda: "pro" in _tier_at_the_app(browser, stage), "the app says pro")
    _at_the_plans(browser, stage)
    assert browser.find("li[aria-current]").text.startswith("Pro")
    browser.find("button", "Change to Enterprise").click()
    browser.find("button", "Confirm").click()
    until(lambda: "enterprise" in _tier_at_the_app(browser, stage), "the app says enterprise")
    _at_the_plans(browser, stage)
    browser.find("button", "Manage billing").click()
    browser.find("button", "Cancel now").click()
    browser.find("body", "has been canceled")
    until(lambda: "free" in _tier_at_the_app(browser, stage), "the app says free")
    assert browser.complaints() == []


def test_the_keyboard_alone_is_enough(browser: Browser, stage: Stage) -> None:
    _sign_in(browser, stage, "Barbara")
    _at_the_plans(browser, stage)
    browser.tab_to("Get Pro, by the year")
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "what has the focus must be seen"
    browser.press("enter")
    browser.find("h1", "Checkout")
    browser.tab_to("Pay")
    browser.press("enter")
    until(lambda: "pro" in _tier_at_the_app(browser, stage), "the app says pro")


def test_the_link_is_not_left_in_the_address_bar_and_the_page_can_be_reloaded(browser: Browser, stage: Stage) -> None:
    _sign_in(browser, stage, "Ada")
    _at_the_plans(browser, stage)
    assert browser.url == f"{stage.pay_url}/buy/skai"
    browser.reload()
    browser.find("h2", "Enterprise")
    assert browser.complaints() == []


def test_a_link_that_is_over_says_what_to_do(browser: Browser, stage: Stage) -> None:
    browser.open(f"{stage.pay_url}/buy/skai?t=1.x.y")
    problem = browser.find("[role=alert]", "Go back to Sample chat")
    assert problem.text
    assert browser.run("return document.querySelectorAll('button:not([hidden])').length") == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone_and_every_control_can_be_hit_and_has_a_name(tmp_path: Path, stage: Stage, dark: bool) -> None:
    with Browser(tmp_path, width=390, height=844, dark=dark) as browser:
        _sign_in(browser, stage, "Hedy")
        _at_the_plans(browser, stage)
        assert browser.run("return document.documentElement.clientWidth") == 390
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        controls = browser.run(
            "return [...document.querySelectorAll('button, a')].filter(e => e.offsetParent)"
            ".map(e => [e.innerText, e.getBoundingClientRect().height])"
        )
        assert len(controls) >= 4
        for name, height in controls:
            assert name.strip(), controls
            assert height >= 44, controls
        ground = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(15, 19, 24)") is dark
        browser.screenshot(tmp_path / "phone.png")
        assert (tmp_path / "phone.png").stat().st_size > 10_000
