"""The API of the command line: the Stripe account, adopting customers, moving and forgetting users."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from gateway.billing.accounts import forget as forgetting
from gateway.billing.accounts.account import binding, mode_of
from gateway.billing.accounts.adopt import Assignment, adopt_assigned
from gateway.billing.accounts.move_user import move as move_user
from gateway.billing.context import Billing
from gateway.web.bodies import read_json
from gateway.web.context import BILLING
from gateway.web.models import AdoptRequest, MoveRequest


async def show_account(request: web.Request) -> web.Response:
    """The Stripe account and mode that the store is bound to, and those of the key."""
    return web.json_response(await shown_account(request.app[BILLING]))


async def shown_account(billing: Billing) -> dict[str, object]:
    """What `skpay account show` prints."""
    bound = await billing.work.read(binding)
    return {
        "account": bound.account or None,
        "mode": bound.mode or None,
        "newest_customer": None if bound.newest is None else bound.newest.customer_id,
        "key_mode": mode_of(billing.stripe.livemode),
        "wrong_account": billing.account.wrong,
    }


async def adopt(request: web.Request) -> web.Response:
    """Check assignments of Stripe customers to users of an app, and with `apply` adopt them."""
    body = await read_json(request, AdoptRequest)
    assignments = [Assignment(each.customer_id, each.user_id) for each in body.claims]
    verdicts = await adopt_assigned(request.app[BILLING], body.app_id, assignments, apply=body.apply)
    return web.json_response({"verdicts": [asdict(each) for each in verdicts]})


async def move(request: web.Request) -> web.Response:
    """Move everything of one user id to another id of the same app."""
    body = await read_json(request, MoveRequest)
    moved = await move_user(request.app[BILLING], body.app_id, body.from_user_id, body.to_user_id)
    return web.json_response(asdict(moved))


async def preview_forget(request: web.Request) -> web.Response:
    """What forgetting a user would end and delete."""
    found = await forgetting.traces(
        request.app[BILLING], request.match_info["app_id"], request.match_info["user_id"]
    )  # fmt: skip
    return web.json_response(asdict(found))


async def forget(request: web.Request) -> web.Response:
    """End a user's subscriptions and delete them at Stripe, in LiteLLM and here."""
    found = await forgetting.forget(
        request.app[BILLING], request.match_info["app_id"], request.match_info["user_id"]
    )  # fmt: skip
    return web.json_response(asdict(found))
