"""The sandbox as one object: the account behind its API, its pages and its control routes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from gateway.sandbox.stripe.control import control_routes
from gateway.sandbox.stripe.dashboard import Dashboard
from gateway.sandbox.stripe.pages import page_routes


class StripeSandbox(Dashboard):
    """The account, served over HTTP."""

    def application(self) -> web.Application:
        """The API, the pages and the control routes; it delivers webhooks while it runs."""
        application = web.Application(client_max_size=1 << 20)
        for version in ("v1", "v2"):
            application.router.add_route("*", f"/{version}/{{rest:.*}}", self.api.handle)
        application.add_routes(page_routes(self))
        application.add_routes(control_routes(self))
        application.cleanup_ctx.append(self._delivering)
        return application

    async def _delivering(self, _: web.Application) -> AsyncIterator[None]:
        await self.deliveries.start()
        yield
        await self.deliveries.stop()
