"""The API of the command line: alerts, keys, grants, refreshes, reload. The server is the only writer."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from gateway.billing.accounts.keys import create_key, shown_key
from gateway.billing.refresh import grants as granting
from gateway.billing.work.transaction import Transaction
from gateway.errors import ConfigError, InvalidInput, NotFound
from gateway.store import alerts, keys, users
from gateway.store.keys import Key
from gateway.user_ids import check_user_id
from gateway.web.bodies import read_json
from gateway.web.context import BILLING, SITE
from gateway.web.models import GrantRequest, KeyRequest, UserRequest

MAX_LISTED = 200


async def list_alerts(request: web.Request) -> web.Response:
    """Every open alert."""
    live = await request.app[BILLING].work.read(alerts.live)
    return web.json_response({"alerts": [asdict(alert) for alert in live]})


async def list_keys(request: web.Request) -> web.Response:
    """Every key ever created, without its hash."""
    found = await request.app[BILLING].work.read(keys.all_)
    return web.json_response({"keys": [shown_key(key) for key in found]})


async def make_key(request: web.Request) -> web.Response:
    """Create a key of an app or a user; only this answer shows it."""
    body = await read_json(request, KeyRequest)
    billing = request.app[BILLING]

    def job(tx: Transaction) -> tuple[Key, str]:
        return create_key(tx.conn, billing.apps.catalog, body.app_id, body.user_id, body.name, tx.now)

    key, text = await billing.work.write(job)
    return web.json_response({**shown_key(key), "key": text}, status=201)


async def revoke_key(request: web.Request) -> web.Response:
    """Revoke a key; it is invalid from the next request on."""
    billing = request.app[BILLING]
    key_id = request.match_info["key_id"]
    if not key_id.isascii() or not key_id.isdigit() or len(key_id) > 15:
        raise InvalidInput("key_id: expected a number.")
    key = await billing.work.write(lambda tx: keys.revoke(tx.conn, int(key_id), tx.now))
    return web.json_response(shown_key(key))


async def create_grant(request: web.Request) -> web.Response:
    """Give a user a tier without a subscription."""
    body = await read_json(request, GrantRequest)
    billing = request.app[BILLING]

    def job(tx: Transaction) -> int:
        return granting.give(tx, billing.apps.catalog, body.app_id, body.user_id, body.tier, body.reason, body.until_at)

    grant_id = await billing.work.write(job)
    return web.json_response({"grant_id": grant_id}, status=201)


async def revoke_grants(request: web.Request) -> web.Response:
    """Revoke every grant of a user."""
    billing = request.app[BILLING]
    app_id, user_id = request.match_info["app_id"], check_user_id(request.match_info["user_id"])
    ended = await billing.work.write(lambda tx: granting.take_back(tx, app_id, user_id))
    return web.json_response({"ended": ended})


async def refresh_user(request: web.Request) -> web.Response:
    """Refresh a user from Stripe now, as an event would; 404 for an unknown user."""
    body = await read_json(request, UserRequest)
    billing = request.app[BILLING]
    billing.apps.app(body.app_id)
    check_user_id(body.user_id)

    def job(tx: Transaction) -> None:
        if not users.is_known(tx.conn, body.app_id, body.user_id):
            raise NotFound(f"{body.app_id} has no user {body.user_id[:80]!r}.", code="unknown_user")
        tx.want_refresh(body.app_id, body.user_id)

    await billing.work.write(job)
    return web.json_response({"wanted": True}, status=202)


async def reload_catalog(request: web.Request) -> web.Response:
    """Reload apps.json now; 409 with every problem if it is invalid, and the current catalog stays."""
    try:
        await request.app[SITE].reload_catalog()
    except ConfigError as exc:
        exc.fields["problems"] = list(exc.problems)
        raise
    return web.json_response({"apps": list(request.app[BILLING].apps.catalog.apps)})
