"""What people do in the real Open WebUI, from sign-up to cancellation, in Chromium, with either gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openwebui_page import Page
from openwebui_stage import Stage, open_stage
from servers.browser import Browser
from servers.found import require
from servers.traefik import until

from gateway.catalog.model import GateKind

pytestmark = [
    pytest.mark.needs_openwebui, pytest.mark.needs_litellm, pytest.mark.needs_traefik, pytest.mark.needs_chromium,
]  # fmt: skip
ADA, BEA = ("ada@example.com", "password-of-ada"), ("bea@example.com", "password-of-bea")
CHAT = "/api/chat/completions"


@pytest.fixture(params=["forward_auth", "plugin"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    require("traefik")
    require("chromium")
    gate: GateKind = request.param
    async with open_stage(tmp_path, gate) as opened:
        yield opened


async def test_from_sign_up_to_cancellation(stage: Stage) -> None:
    async with Browser() as browser:
        await browser.viewport(1200, 800)
        page = Page(browser, stage.app_url)
        ada = await _activated(page, stage, "Ada", *ADA)
        await _reaches_the_limit_of_the_free_tier(page, stage, ada)
        await _buys_pro_by_the_banner(page, stage)
        await _makes_an_image(page, stage, ada)
        await _cancels(page, stage)
        await page.new_chat()
        await page.switch_images_on()
        assert "An error occurred while generating an image" in await page.say("another cat")
        assert stage.tags(CHAT)[-1] == (ada, "free")
        await page.sign_out()
        bea = await _activated(page, stage, "Bea", *BEA)
        assert "Hello from the small model" in await page.say("Hello")
        assert stage.tags(CHAT)[-1] == (bea, "free")
        assert {user for user, _ in stage.tags(CHAT)} == {ada, bea}


async def _activated(page: Page, stage: Stage, name: str, email: str, password: str) -> str:
    """Sign up, see the page of those who wait, be activated, and arrive at the chat; the user's id."""
    await page.sign_up(name, email, password)
    await page.browser.until_text("Account Activation Pending")
    await stage.openwebui.set_role(email, "user")
    await page.until_activated()
    user_id = str((await stage.openwebui.user(email))["id"])

    async def tagged() -> bool:
        await page.browser.run("return fetch('/api/config').then((answer) => answer.status)")
        return stage.tags("/api/config")[-1] == (user_id, "free")

    # The gate takes five seconds at most to notice.
    await until(tagged, f"{name} is tagged")
    return user_id


async def _reaches_the_limit_of_the_free_tier(page: Page, stage: Stage, ada: str) -> None:
    assert "Hello from the small model" in await page.say("Hello")
    assert stage.tags(CHAT)[-1] == (ada, "free")
    for _ in range(8):
        answer = await page.say("More")
        if "Rate limit exceeded" in answer:
            break
    assert "Rate limit exceeded" in answer
    await page.new_chat()
    await page.switch_images_on()
    assert "An error occurred while generating an image" in await page.say("a cat")
    assert await page.images() == 0


async def _buys_pro_by_the_banner(page: Page, stage: Stage) -> None:
    await page.new_chat()
    await page.click("a", "Upgrade")
    text = await page.browser.until_text("You have Free.")
    assert "200 requests a minute" in text
    await page.click("button", "Get Pro")
    await page.browser.until_text("pretend Stripe")
    await page.click("button", "Pay")
    await _until_tier(stage, "pro")


async def _makes_an_image(page: Page, stage: Stage, ada: str) -> None:
    await page.new_chat()
    await page.switch_images_on()
    # No limit of the free tier is left: LiteLLM knows of the change as soon as we do.
    assert "Image created" in await page.say("a cat")

    async def shown() -> bool:
        return await page.images() == 1

    await until(shown, "the image in the chat")
    assert stage.tags(CHAT)[-1] == (ada, "pro")


async def _cancels(page: Page, stage: Stage) -> None:
    await page.browser.go(f"{stage.app_url}/.skpayments/upgrade")
    await page.browser.until_text("You have Pro.")
    await page.click("button", "Manage billing")
    await page.browser.until_text("pretend Stripe")
    await page.click("button", "Cancel now")
    await _until_tier(stage, "free")


async def _until_tier(stage: Stage, tier: str) -> None:
    async def there() -> bool:
        return await stage.tier(ADA[0]) == tier

    await until(there, f"Ada's tier is {tier}")
