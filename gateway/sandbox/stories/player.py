"""Plays a story in a simulation, for one new user, and checks its results."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from gateway.billing.checkout.checkout import CheckoutLink, open_checkout
from gateway.billing.checkout.portal import open_portal
from gateway.billing.checkout.price_choice import PriceChoice
from gateway.billing.refresh import grants
from gateway.billing.refresh.status import limits, status
from gateway.catalog.model import App, Tier
from gateway.errors import UpstreamFailed
from gateway.sandbox.litellm import Fault
from gateway.sandbox.stories import Story
from gateway.sandbox.stories.delivery_order import DeliveryOrder, tiers_by_part
from gateway.sandbox.stories.simulation import Simulation
from gateway.sandbox.story_failed import StoryFailedError
from gateway.store import entitlements
from gateway.urls import api_path, api_query, api_url

DAY = 86_400
Act = dict[str, Any]


class StoryPlayer:
    """One run of one story by one user."""

    def __init__(
        self, stage: Simulation, app: App, delivery_order: DeliveryOrder, session: aiohttp.ClientSession, turn: int = 0
    ) -> None:
        self._stage = stage
        self._app = app
        self._delivery_order = delivery_order
        self._session = session
        self.user_id = f"user-{secrets.token_hex(8)}"
        self._parts = tiers_by_part(app, turn)
        self._last: CheckoutLink | None = None
        self.events_delivered = 0

    async def play(self, story: Story) -> None:
        """Every act in order. Raises `StoryFailedError` naming the act."""
        self._stage.take_new_events()  # events of an earlier story
        try:
            for number, act in enumerate(story.acts):
                try:
                    await self.do(act)
                except StoryFailedError as exc:
                    raise StoryFailedError(f"{story.name}: act {number} {act}: {exc}") from exc
        finally:
            await self.leave()

    async def do(self, act: Act) -> None:
        """One act. Raises `StoryFailedError` if it is impossible, or if a result is not as expected."""
        if "expect" in act:
            await self.deliver_pending()
            await self.expect(act["expect"])
        else:
            await _ACTS[act["do"]](self, act)

    async def deliver_pending(self) -> None:
        """Deliver Stripe's new events in the order of this run, then do all work that results."""
        events = self._delivery_order.ordered(self._stage.take_new_events())
        self.events_delivered += len(events)
        await self._stage.deliver_events(events)
        await self._stage.settle()
        self._end_faults()  # an unused fault would break the checks

    async def expect(self, requested: dict[str, Any]) -> None:
        """Check the tier in status, gate and LiteLLM, and the other results of `wanted`."""
        found = await status(self._stage.billing.work, self._stage.billing.apps, self._app.app_id, self.user_id)
        tier = self._parts[requested["tier"]]
        _same("tier", tier.tier_id, found["tier"])
        if "status" in requested:
            _same("Stripe's status", requested["status"], found["status"])
        if "ends" in requested:
            _same("whether it ends", requested["ends"], found["ends_at"] is not None)
        if "concerns" in requested:
            _same("the concerns", requested["concerns"], await self._concerns())
        in_gate = self._stage.gate.get((self._app.app_id, self.user_id), self._app.default_tier.tier_id)
        _same("the gate's tier", tier.tier_id, in_gate)
        self._expect_notices(tier)
        if self._app.litellm is not None and (self._app.app_id, self.user_id) in self._stage.gate:
            _same("LiteLLM's limits", _comparable(limits(tier)), _comparable(await self._litellm_limits()))

    def _expect_notices(self, tier: Tier) -> None:
        """The app got a notice of every change: each starts at the tier of the one before, the last ends at `tier`."""
        data = (notice["data"] for notice in self._stage.received_notices.values())
        own = [each for each in data if (each["app_id"], each["user_id"]) == (self._app.app_id, self.user_id)]
        default = self._app.default_tier.tier_id
        _same("the tier of the last notice", tier.tier_id, own[-1]["to"] if own else default)
        for before, after in itertools.pairwise(own):
            _same("the former tier of a notice", before["to"], after["from"])

    async def _concerns(self) -> list[str]:
        app_id, user_id = self._app.app_id, self.user_id
        stored = await self._stage.billing.work.read(lambda conn: entitlements.get(conn, app_id, user_id))
        return sorted(each.kind for each in stored.entitlement.concerns) if stored else []

    async def _litellm_limits(self) -> dict[str, Any]:
        own_id = self._app.litellm_id(self.user_id)
        customer = self._app.litellm is not None and self._app.litellm.mode == "customer"
        path, name = ("/customer/info", "end_user_id") if customer else ("/v2/user/info", "user_id")
        url = api_url(self._stage.litellm_url, path, api_query([(name, own_id)]))
        headers = {"Authorization": f"Bearer {self._stage.litellm_key}"}
        async with self._session.get(url, headers=headers) as answer:
            row: dict[str, Any] = await answer.json()
        return {**(row.get("litellm_budget_table") or row), "models": row.get("models")}

    async def open_checkout(self, act: Act) -> None:
        if act.get("lost_reply"):
            await self._lose_a_checkout({"tier": act["tier"]})
        tier = self._parts[act["tier"]]
        link = await open_checkout(
            self._stage.billing, self._app.app_id, self.user_id, None, tier.tier_id, PriceChoice()
        )
        if act.get("lost_reply"):
            open_now = [each for each in self._own("checkout.session") if each["status"] == "open"]
            _same("how many checkouts are open", 1, len(open_now))
        _same("the kind of link", act.get("kind", "checkout"), link.kind)
        if "same" in act:
            _same("whether it is the same session", act["same"], self._last is not None and link.url == self._last.url)
        self._last = link

    async def _lose_a_checkout(self, act: Act) -> None:
        """Stripe opens the session, but its answer is lost: the request must be repeated."""
        self._stage.stripe.fault("lost_reply", "/v1/checkout/sessions", "POST")
        try:
            await self.open_checkout(act)
        except UpstreamFailed:
            return
        raise StoryFailedError("the lost reply was not noticed")

    async def pay(self, act: Act) -> None:
        if self._last is None:
            raise StoryFailedError("there is no checkout to pay")
        await self._click(self._last.url, {"action": _PAYING[act.get("card", "ok")]})

    async def declined(self, act: Act) -> None:
        await self.open_checkout({"tier": "paid"})
        await self.pay({"card": "fail"})

    async def buy(self, act: Act) -> None:
        await self.open_checkout(act)
        await self.pay(act)

    async def change_plan(self, act: Act) -> None:
        await self.deliver_pending()
        await self.open_checkout({**act, "kind": "portal"})
        await self._click_in_portal(self._last.url if self._last else "", "change_plan")

    async def portal(self, act: Act) -> None:
        url = await open_portal(self._stage.billing, self._app, self.user_id)
        await self._click_in_portal(url, act["action"])

    async def fail_renewal(self, act: Act) -> None:
        self._stage.stripe.fail_next_renewal(self._subscription_id())

    async def pay_invoice(self, act: Act) -> None:
        self._stage.stripe.set_card(self._customer_id(), "ok")
        self._stage.stripe.pay_open_invoice(self._subscription_id())

    async def send_invoices(self, act: Act) -> None:
        """From now on invoices are sent, not charged."""
        params = {"collection_method": "send_invoice", "days_until_due": act["days"]}
        await self._stage.billing.stripe.transport.post(api_path("v1/subscriptions", self._subscription_id()), params)

    async def give_credit(self, act: Act) -> None:
        """A balance at Stripe that pays so many invoices of what the last checkout sells."""
        amount = self._newest("checkout.session")["amount_total"]
        await self._stage.billing.stripe.transport.post(
            api_path("v1/customers", self._customer_id()), {"balance": -act["invoices"] * amount}
        )

    async def end_invoice(self, act: Act) -> None:
        """The open invoice becomes void or uncollectible, as from the Dashboard."""
        invoice_id = self._newest("subscription")["latest_invoice"]
        await self._stage.billing.stripe.transport.post(api_path("v1/invoices", invoice_id, act["how"]), {})

    async def pause_collection(self, act: Act) -> None:
        paused = {"behavior": "void"} if act["paused"] else ""
        await self._stage.billing.stripe.transport.post(
            api_path("v1/subscriptions", self._subscription_id()), {"pause_collection": paused}
        )

    async def unknown_price(self, act: Act) -> None:
        """A price that no tier has, set in the Dashboard."""
        [item] = self._newest("subscription")["items"]["data"]
        price = self._stage.stripe.add_price(self._stage.stripe.add_product("Special offer"), 1234)
        params = {"items": [{"id": item["id"], "price": price["id"]}], "proration_behavior": "none"}
        await self._stage.billing.stripe.transport.post(api_path("v1/subscriptions", self._subscription_id()), params)

    async def dispute(self, act: Act) -> None:
        self._stage.stripe.dispute(self._subscription_id(), act["status"])

    async def second_subscription(self, act: Act) -> None:
        """The result of a race at Stripe that no checkout of ours can prevent."""
        first = self._newest("subscription")
        price_id = first["items"]["data"][0]["price"]["id"]
        await self.wait({"days": 1})
        params = {"customer": first["customer"], "items": [{"price": price_id}], "metadata": first["metadata"]}
        await self._stage.billing.stripe.transport.post("/v1/subscriptions", params)

    async def cancel_newest(self, act: Act) -> None:
        self._stage.stripe.cancel(self._subscription_id())

    async def delete_customer(self, act: Act) -> None:
        await self._stage.billing.stripe.transport.delete(api_path("v1/customers", self._customer_id()))

    async def wait(self, act: Act) -> None:
        await self.deliver_pending()
        seconds = self._app.grace_seconds + 3600 if act.get("grace") else act["days"] * DAY
        self._stage.stripe.advance(seconds)

    async def lose_events(self, act: Act) -> None:
        self._stage.take_new_events()

    async def refresh(self, act: Act) -> None:
        billing = self._stage.billing
        await billing.work.write(lambda tx: tx.want_refresh(self._app.app_id, self.user_id))

    async def grant(self, act: Act) -> None:
        billing = self._stage.billing
        tier_id = self._parts[act["tier"]].tier_id
        until_at = billing.work.now() + act["days"] * DAY if "days" in act else None
        await billing.work.write(
            lambda tx: grants.give(
                tx, billing.apps.catalog, self._app.app_id, self.user_id, tier_id, "a story", until_at
            )
        )

    async def take_back(self, act: Act) -> None:
        billing = self._stage.billing
        await billing.work.write(lambda tx: grants.take_back(tx, self._app.app_id, self.user_id))

    async def stripe_fault(self, act: Act) -> None:
        self._stage.stripe.fault(**{key: value for key, value in act.items() if key != "do"})

    async def litellm_fault(self, act: Act) -> None:
        self._stage.litellm.faults.add(Fault(**{key: value for key, value in act.items() if key != "do"}))

    async def _click(self, url: str, form: dict[str, str]) -> None:
        async with self._session.post(url, data=form, allow_redirects=False) as answer:
            if answer.status >= 400 and form["action"] != "pay_fail":
                raise StoryFailedError(f"Stripe's page answered {answer.status}")

    async def _click_in_portal(self, url: str, action: str) -> None:
        async with self._session.get(url) as page:
            text = await page.text()
        for form in re.findall(r"<form.*?</form>", text, re.DOTALL):
            if f'value="{action}"' in form:
                hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form))
                await self._click(url, {"action": action, **hidden})
                return
        raise StoryFailedError(f"the portal has no button {action}")

    def _customer_id(self) -> str:
        return str(self._newest("customer")["id"])

    def _subscription_id(self) -> str:
        return str(self._newest("subscription")["id"])

    def _newest(self, kind: str) -> dict[str, Any]:
        own = self._own(kind)
        if not own:
            raise StoryFailedError(f"the user has no {kind}")
        return own[-1]

    def _own(self, kind: str) -> list[dict[str, Any]]:
        return self._stage.stripe.with_metadata(kind, "user_id", self.user_id)

    def customer_ids(self) -> set[str]:
        """Every customer of this user, past and present."""
        subscribed = {each["customer"] for each in self._own("subscription")}
        return subscribed | {each["id"] for each in self._own("customer")}

    async def leave(self) -> None:
        """End what this user still pays for, so that it does not renew through the stories of others."""
        self._end_faults()
        for each in self._own("subscription"):
            if each["status"] not in _OVER:
                self._stage.stripe.cancel(each["id"])

    def _end_faults(self) -> None:
        self._stage.stripe.faults.clear()
        self._stage.litellm.faults.clear()


_PAYING = {"ok": "pay", "fail": "pay_fail", "bank debit": "pay_later", "bank debit that bounces": "pay_later_fail"}
_OVER = ("canceled", "incomplete_expired")
_ACTS: dict[str, Callable[[StoryPlayer, Act], Awaitable[None]]] = {
    name: getattr(StoryPlayer, name)
    for name in (
        "open_checkout", "pay", "buy", "declined", "change_plan", "portal", "fail_renewal", "pay_invoice", "dispute",
        "second_subscription", "cancel_newest", "delete_customer", "wait", "lose_events", "refresh", "grant",
        "take_back", "stripe_fault", "litellm_fault", "send_invoices", "give_credit", "end_invoice", "pause_collection",
        "unknown_price",
    )
}  # fmt: skip


def _same(what: str, requested: object, found: object) -> None:
    if requested != found:
        raise StoryFailedError(f"{what} should be {requested!r}, is {found!r}")


def _comparable(values: dict[str, Any]) -> dict[str, Any]:
    """Limits in comparable form: unlimited is null here and may be a very large number at LiteLLM."""
    found = {name: values.get(name) for name in ("max_budget", "tpm_limit", "rpm_limit")}
    return {name: None if value is not None and value >= 1_000_000_000 else value for name, value in found.items()}
