"""The story of one buyer, played over HTTP as with a browser, from free to paid and back.

A step counts only if it shows in the request that reached the sample app through Traefik, in a page, or in LiteLLM's
answers; never in the service's own store.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from gateway.sandbox.story_failed import StoryFailedError

STEP_SECONDS = 20.0
PAID_PATH = "/reports"
FREE_MODEL, PAID_MODEL = "gpt-small", "gpt-big"
_FORGED = {
    "X-SK-Tier": "enterprise",
    "X_SK_Tier": "enterprise",
    "X.SK.Tier": "enterprise",
    "x-sk-user": "somebody-else",
    "X-SK-Features": "everything",
}


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: its status, its headers and its text."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Person:
    """An HTTP client like a browser: cookies per host, `*.localhost` on loopback; follows no redirect."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._cookies: dict[str, dict[str, str]] = {}

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Response:
        return await self._send("GET", url, headers or {}, None)

    async def post(self, url: str, *, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Response:
        return await self._send("POST", url, headers or {}, aiohttp.FormData(dict(form)))

    async def post_json(self, url: str, body: object, headers: Mapping[str, str]) -> Response:
        sent = {"Content-Type": "application/json", **headers}
        return await self._send("POST", url, sent, json.dumps(body))

    async def _send(self, method: str, url: str, headers: Mapping[str, str], data: Any) -> Response:
        parts = urlsplit(url)
        host = parts.hostname or ""
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.get(host, {}).items())
        sent = {"Host": parts.netloc, **({"Cookie": cookies} if cookies else {}), **headers}
        # Not every resolver knows that *.localhost is loopback.
        address = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl() if host.endswith("localhost") else url
        async with self._session.request(method, address, headers=sent, data=data, allow_redirects=False) as answer:
            for name, cookie in answer.cookies.items():
                self._cookies.setdefault(host, {})[name] = cookie.value
            return Response(answer.status, dict(answer.headers), await answer.text())


class Story:
    """Plays the story on a running stage. `say(line)` reports each step."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        app_url: str,
        pay_url: str,
        stripe_url: str,
        litellm_url: str,
        litellm_key: str,
        say: Callable[[str], None],
    ) -> None:
        self._person = Person(session)
        self._app, self._pay, self._stripe = app_url, pay_url, stripe_url
        self._litellm, self._litellm_key = litellm_url, litellm_key
        self._say = say
        self._user_id = ""

    async def play(self) -> None:
        """Every chapter in order. Raises `StoryFailedError` at the first step without its effect."""
        for chapter in (
            self._free,
            self._forged,
            self._refused,
            self._buys,
            self._upgrades,
            self._fails,
            self._cancels,
        ):
            await chapter()

    async def _free(self) -> None:
        anonymous = await self._at_the_app()
        _check(
            "an anonymous request is tagged with the default tier and no user",
            anonymous == {"X-SK-App": "skai", "X-SK-Tier": "free"},
        )
        signed_in = await self._person.post(f"{self._app}/sign-in", form={"name": "Ada"})
        _check("signing in works through Traefik", signed_in.status == 303)
        tags = await self._at_the_app()
        self._user_id = tags.get("X-SK-User", "")
        _check("Ada is known and on the free tier", bool(self._user_id) and tags.get("X-SK-Tier") == "free")
        self._say(f"Ada signed in; the app got X-SK-User: {self._user_id}, X-SK-Tier: free")
        await self._litellm_has("free", 60)

    async def _forged(self) -> None:
        answer = await self._person.get(f"{self._app}/echo", {**_FORGED, "Accept": "application/json"})
        arrived = [value for name, value in answer.json()["headers"] if re.match(r"(?i)x[^a-z0-9]*sk[^a-z0-9]", name)]
        # The free tier has no features: their tag is empty.
        _check("no forged header reached the app", sorted(arrived) == sorted(["", "skai", "free", self._user_id]))
        self._say(f"{len(_FORGED)} forged headers in as many spellings were sent; none reached the app")

    async def _refused(self) -> None:
        refused = await self._person.get(f"{self._app}{PAID_PATH}", {"Accept": "application/json"})
        body = refused.json()
        _check(
            "a paid path is refused with what it takes",
            refused.status == 402 and (body["error"], body["required_tier"]) == ("tier_required", "pro"),
        )
        as_page = await self._person.get(
            f"{self._app}{PAID_PATH}", {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
        )
        _check(
            "a browser is sent to the buyer's page", as_page.headers["Location"].startswith(f"{self._pay}/buy/skai?t=")
        )
        self._say(f"{PAID_PATH} was refused: 402 tier_required, needs pro")
        answered = await self._chat(FREE_MODEL)
        _check(f"LiteLLM lets Ada use {FREE_MODEL}", answered.status == 200)
        await self._model_refused()

    async def _model_refused(self) -> None:
        """The model is in the body of a chat call, which no path rule can see: LiteLLM enforces the tier's models."""
        refused = await self._chat(PAID_MODEL)
        message = refused.json().get("error", {}).get("message", "")
        _check(
            f"LiteLLM refuses Ada {PAID_MODEL}",
            refused.status == 403 and "not in the allowed models for this customer" in message,
        )
        self._say(f"LiteLLM refused Ada the model {PAID_MODEL}: 403, not among the models of free")

    async def _buys(self) -> None:
        link = await self._upgrade_link()
        page = await self._person.get(link)
        _check("the buyer's page opens", page.status == 200 and "<main>" in page.text)
        offer = await self._offer(link)
        names = [tier["id"] for tier in offer["tiers"]]
        _check("it offers what is for sale and nothing internal", names == ["free", "pro", "enterprise"])
        bought = await self._ask(link, "checkout", {"tier": "pro", "interval": "month"})
        repeated = await self._ask(link, "checkout", {"tier": "pro", "interval": "month"})
        _check("a repeated request opens no second checkout", bought == repeated and bought["kind"] == "checkout")
        url = bought["checkout_url"]
        declined = await self._person.post(url, form={"action": "pay_fail"})
        _check("a declined card pays nothing", declined.status == 402)
        _check("a declined card changes no tier", (await self._at_the_app())["X-SK-Tier"] == "free")
        paid = await self._person.post(url, form={"action": "pay"})
        # The page waits there until the tier has changed, and then leads back to the app.
        back = paid.headers.get("Location", "")
        _check("Stripe sends Ada back to her page", back.startswith(f"{self._pay}/buy/skai?r="))
        await self._tagged("pro")
        allowed = await self._person.get(f"{self._app}{PAID_PATH}", {"Accept": "application/json"})
        _check("the paid path opens", allowed.status == 200 and allowed.json()["path"] == PAID_PATH)
        await self._litellm_has("pro", 60)
        answered = await self._chat(PAID_MODEL)
        _check(f"LiteLLM lets Ada use {PAID_MODEL}", answered.status == 200)
        self._say(f"LiteLLM let Ada use the model {PAID_MODEL}")

    async def _upgrades(self) -> None:
        link = await self._upgrade_link()
        change = await self._ask(link, "checkout", {"tier": "enterprise"})
        _check("a subscriber is sent to the portal, not to a second checkout", change["kind"] == "portal")
        page = await self._person.get(change["checkout_url"])
        changed = await self._person.post(change["checkout_url"], form=_form(page.text, "change_plan"))
        _check("the portal takes the change", changed.status == 303)
        await self._tagged("enterprise")
        await self._litellm_has("enterprise", 120)

    async def _fails(self) -> None:
        subscription = (await self._subscriptions())[0]["id"]
        await self._person.post_json(f"{self._stripe}/_sandbox/fail_renewal", {"subscription": subscription}, {})

        async def is_past_due() -> bool:
            offer = await self._offer(await self._upgrade_link())
            return bool(offer["current"]["status"] == "past_due")

        await self._until("Ada's page shows that her payment failed", is_past_due)
        _check("grace keeps the tier", (await self._at_the_app())["X-SK-Tier"] == "enterprise")
        self._say("a renewal failed: Ada's page shows it, and she keeps enterprise during grace")

    async def _cancels(self) -> None:
        link = await self._upgrade_link()
        portal = (await self._ask(link, "portal", None))["portal_url"]
        page = await self._person.get(portal)
        canceled = await self._person.post(portal, form=_form(page.text, "cancel_now"))
        _check("the portal cancels", canceled.status == 303)
        await self._tagged("free")
        refused = await self._person.get(f"{self._app}{PAID_PATH}", {"Accept": "application/json"})
        _check("the paid path is closed again", refused.status == 402)
        await self._litellm_has("free", 60)
        await self._model_refused()

    async def _at_the_app(self) -> dict[str, str]:
        """The tags that reached the sample app through Traefik."""
        answer = await self._person.get(f"{self._app}/echo", {"Accept": "application/json"})
        _check("the app answers", answer.status == 200)
        return {
            re.sub(r"\bSk\b", "SK", name.title()): value
            for name, value in answer.json()["headers"]
            if name.lower().startswith("x-sk-") and name.lower() != "x-sk-features"
        }

    async def _tagged(self, tier: str) -> None:
        started = time.monotonic()

        async def is_tagged() -> bool:
            return (await self._at_the_app()).get("X-SK-Tier") == tier

        await self._until(f"the app gets X-SK-Tier: {tier}", is_tagged)
        self._say(f"the app got X-SK-Tier: {tier}, {time.monotonic() - started:.2f} s after the change at Stripe")

    async def _litellm_has(self, tier: str, rpm_limit: int) -> None:
        """LiteLLM's own answer: the customer is on the tier's budget, with the tier's rate limit."""
        headers = {"Authorization": f"Bearer {self._litellm_key}"}

        async def there() -> bool:
            url = f"{self._litellm}/customer/info?end_user_id={self._user_id}"
            answer = await self._person.get(url, headers)
            budget = answer.json().get("litellm_budget_table") or {} if answer.status == 200 else {}
            return (budget.get("budget_id"), budget.get("rpm_limit")) == (f"skai.{tier}", rpm_limit)

        await self._until(f"LiteLLM has the limits of {tier}", there)
        self._say(f"LiteLLM answers that Ada is on the budget skai.{tier}, {rpm_limit} requests a minute")

    async def _chat(self, model: str) -> Response:
        """A chat call as Open WebUI makes it for Ada: the app's shared key, and her id in a header."""
        headers = {"Authorization": f"Bearer {self._litellm_key}", "X-OpenWebUI-User-Id": self._user_id}
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        return await self._person.post_json(f"{self._litellm}/chat/completions", body, headers)

    async def _upgrade_link(self) -> str:
        answer = await self._person.get(f"{self._app}/.skpayments/upgrade", {"Accept": "text/html"})
        _check("the upgrade link leads to the buyer's page", answer.status == 303)
        return answer.headers["Location"]

    async def _offer(self, link: str) -> Any:
        answer = await self._person.get(f"{self._pay}/buy/skai/offer", _signed(link))
        _check("the offer loads", answer.status == 200)
        return answer.json()

    async def _ask(self, link: str, action: str, body: object) -> Any:
        headers = {**_signed(link), "Origin": self._pay}
        answer = await self._person.post_json(f"{self._pay}/buy/skai/{action}", body, headers)
        _check(f"{action} answers: {answer.text[:200]}", answer.status == 200)
        return answer.json()

    async def _subscriptions(self) -> list[Any]:
        state = (await self._person.get(f"{self._stripe}/_sandbox/state")).json()
        return [each for each in state["objects"]["subscription"] if each["status"] == "active"]

    async def _until(self, what: str, succeeded: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + STEP_SECONDS
        while not await succeeded():
            _check(f"{what} (waited {STEP_SECONDS:.0f} s)", time.monotonic() < deadline)
            await asyncio.sleep(0.05)


def _check(what: str, succeeded: bool) -> None:
    if not succeeded:
        raise StoryFailedError(f"failed: {what}")


def _signed(link: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {parse_qs(urlsplit(link).query)['t'][0]}"}


def _form(page: str, action: str) -> dict[str, str]:
    """What a click on the button `action` sends: the hidden fields of its form."""
    for form in re.findall(r"<form.*?</form>", page, re.DOTALL):
        if f'value="{action}"' in form:
            hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form)
            return {"action": action, **dict(hidden)}
    raise StoryFailedError(f"the page has no button {action}")
