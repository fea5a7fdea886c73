"""Open WebUI's own page as a person uses it, in Chromium."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from servers.browser import ENTER, Browser
from servers.traefik import until

_ESCAPE = "\ue00c"
_CHAT = "#chat-input"
_CLICK = """
const [selector, text] = arguments;
const found = [...document.querySelectorAll(selector)].find((each) => each.innerText.trim().startsWith(text));
if (found) found.click();
return Boolean(found);
"""
_LAST_ANSWER = """
const messages = [...document.querySelectorAll("#messages-container [id^='message-']")];
return messages.length ? messages[messages.length - 1].innerText : "";
"""
_IMAGES = """
return [...document.querySelectorAll("#messages-container [id^='message-'] img")]
  .filter((each) => each.src.includes('/api/v1/files/') && each.naturalWidth > 0).length;
"""


@dataclass(frozen=True, slots=True)
class Page:
    """`url` is Open WebUI's, through Traefik."""

    browser: Browser
    url: str

    async def sign_up(self, name: str, email: str, password: str) -> None:
        await self.browser.go(f"{self.url}/")
        await self.click("button", "Sign up")
        await self._fill("#name", name)
        await self._fill("#email", email)
        await self._fill("#password", password)
        await self.click("button", "Create Account")

    async def sign_in(self, email: str, password: str) -> None:
        await self.browser.go(f"{self.url}/auth")
        await self._fill("#email", email)
        await self._fill("#password", password)
        await self.click("button", "Sign in")
        await self._there(_CHAT)

    async def sign_out(self) -> None:
        await self.browser.go(f"{self.url}/")
        await self._there(_CHAT)
        await self.browser.run("""document.querySelector("button[aria-label='User menu']").click()""")
        await self.click("[role=menuitem], [role=menu] button", "Sign Out")
        await self._there("#password")

    async def until_activated(self) -> None:
        """Load the page again until it is the chat, as somebody does who waits to be activated."""

        async def activated() -> bool:
            await self.browser.go(f"{self.url}/")
            shown = await until(self._chat_or_pending, "a page that has begun", 30)
            return shown == "chat"

        await until(activated, "the chat", 60)

    async def new_chat(self) -> None:
        await self.browser.go(f"{self.url}/")
        await self._there(_CHAT)

    async def switch_images_on(self) -> None:
        """For the messages of this chat that follow."""
        await self._there("#integration-menu-button")
        await self.browser.run("document.querySelector('#integration-menu-button').click()")
        await self.click("[role=menuitemcheckbox]", "Image")
        await self.browser.press(_ESCAPE)

    async def say(self, text: str) -> str:
        """Send a message and wait until something came back for it; what the page shows in its place."""
        await self._there(_CHAT)
        requests = await self._messages()
        await self._fill(_CHAT, text)
        await self.browser.press(ENTER)

        async def answered() -> str:
            if await self._messages() < requests + 2:
                return ""
            last = str(await self.browser.run(_LAST_ANSWER))
            return last if " model." in last or "exceeded" in last or "not in the allowed" in last else ""

        try:
            return await until(answered, f"an answer to {text!r}", 30)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; the page: {(await self.browser.text())[-600:]}") from exc

    async def images(self) -> int:
        """How many generated images the chat shows, loaded."""
        return int(await self.browser.run(_IMAGES))

    async def click(self, selector: str, text: str) -> None:
        """Click the first element of the selector whose text begins so, once there is one."""

        async def clicked() -> bool:
            return bool(await self.browser.run(_CLICK, selector, text))

        await until(clicked, f"{text!r} to click", 30)

    async def _messages(self) -> int:
        return int(
            await self.browser.run("return document.querySelectorAll(\"#messages-container [id^='message-']\").length")
        )

    async def _fill(self, selector: str, text: str) -> None:
        await self._there(selector)
        await self.browser.run("document.querySelector(arguments[0]).focus()", selector)
        await self.browser.press(*text)

    async def _chat_or_pending(self) -> str:
        if await self.browser.run("return document.querySelector(arguments[0]) !== null", _CHAT):
            return "chat"
        return "pending" if "Account Activation Pending" in await self.browser.text() else ""

    async def _there(self, selector: str) -> None:
        async def there() -> bool:
            return bool(await self.browser.run("return document.querySelector(arguments[0]) !== null", selector))

        await until(there, f"{selector} at {await self.browser.url()}", 30)
        await asyncio.sleep(0.2)  # its script takes hold of what it has just put there
