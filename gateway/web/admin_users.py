"""The API of the command line: the list of users."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.accounts.users_page import users_page
from gateway.web.context import BILLING


async def list_users(request: web.Request) -> web.Response:
    """A page of users by app and user id (`?app=…&tier=…&status=…&after_app=…&after_user=…`).

    `more`: another page follows.
    """
    billing, query = request.app[BILLING], request.query
    found = await billing.work.read(lambda conn: users_page(conn, billing.apps.catalog, query))
    return web.json_response(found)
