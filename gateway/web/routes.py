"""The route table: path, handler, the caller that each route authenticates, and its part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from pydantic import BaseModel

from gateway.catalog.reserved import HEADER_ECHO_PATH
from gateway.web import (
    admin,
    admin_customers,
    admin_events,
    admin_examine,
    admin_gate,
    admin_notices,
    admin_provisioning,
    admin_reconcile,
    admin_users,
    apps_api,
    buy,
    gate_reports,
    header_echo,
    health,
    jwks,
    models,
    stripe_webhook,
)
from gateway.web.auth import AUTHENTICATE, Caller


@dataclass(frozen=True, slots=True)
class Route:
    """`caller` is authenticated before `handler` runs. `errors`: the other statuses besides success."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    caller: Caller
    request: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    success: int = 200

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Raises what `AUTHENTICATE[caller]` raises."""
        AUTHENTICATE[self.caller](request)
        return await self.handler(request)


_BODY = (400, 413, 415, 429)

API = (
    Route("POST", "/checkout/{app_id}", apps_api.checkout, "app", models.CheckoutRequest, models.CheckoutAnswer,
          (*_BODY, 404, 409, 502, 503)),
    Route("POST", "/portal/{app_id}", apps_api.portal, "app", models.PortalRequest, models.PortalAnswer,
          (*_BODY, 404, 409, 502, 503)),
    Route("GET", "/status/{app_id}/{user_id}", apps_api.status, "app", None, models.StatusAnswer, (400, 404, 503)),
    Route("GET", "/explain/{app_id}/{user_id}", apps_api.explain, "app or operator", None, models.ExplainAnswer,
          (400, 404, 503)),
    Route("POST", "/webhook/stripe", stripe_webhook.stripe_webhook, "stripe", None, None, (400, 413, 429, 503)),
    Route("POST", "/gate/first-seen", gate_reports.first_seen, "gate", models.FirstSeenRequest, None, _BODY),
    Route("POST", "/gate/report", gate_reports.report, "gate", models.GateReport, None, _BODY),
    Route("GET", "/metrics", gate_reports.metrics, "gate"),
    Route("GET", "/health", health.health, "anyone", None, models.HealthAnswer),
    Route("GET", "/ready", health.ready, "anyone", None, models.ReadyAnswer, (503,)),
    Route("GET", "/.well-known/jwks.json", jwks.key_set, "anyone", None, models.KeySetAnswer),
    Route("GET", HEADER_ECHO_PATH, header_echo.header_echo, "anyone", None, None, (404,)),
    Route("GET", "/buy/{app_id}", buy.page, "anyone", None, None, (404,)),
    Route("GET", "/buy/{app_id}/offer", buy.offer, "buyer", None, None, (404, 503)),
    Route("GET", "/buy/{app_id}/change", buy.change, "returning buyer", None, None, (404, 503)),
    Route("POST", "/buy/{app_id}/checkout", buy.buy, "buyer", models.BuyRequest, models.CheckoutAnswer,
          (*_BODY, 404, 409, 502, 503)),
    Route("POST", "/buy/{app_id}/portal", buy.manage, "buyer", None, models.PortalAnswer, (404, 409, 502, 503)),
    Route("GET", "/assets/{name}", buy.asset, "anyone", None, None, (404,)),
    Route("GET", "/admin/alerts", admin.list_alerts, "operator", None, None, (503,)),
    Route("GET", "/admin/keys", admin.list_keys, "operator", None, None, (503,)),
    Route("POST", "/admin/keys", admin.make_key, "operator", models.KeyRequest, None, (*_BODY, 404, 409, 503), 201),
    Route("DELETE", "/admin/keys/{key_id}", admin.revoke_key, "operator", None, None, (400, 404, 503)),
    Route("POST", "/admin/grants", admin.create_grant, "operator", models.GrantRequest, None, (*_BODY, 404, 503), 201),
    Route("DELETE", "/admin/grants/{app_id}/{user_id}", admin.revoke_grants, "operator", None, None, (400, 404, 503)),
    Route("GET", "/admin/events", admin_events.list_events, "operator", None, None, (503,)),
    Route("GET", "/admin/events/{event_id}", admin_events.show_event, "operator", None, None, (404, 503)),
    Route("POST", "/admin/events/{event_id}/replay", admin_events.replay_event, "operator", None, None,
          (404, 503), 202),
    Route("GET", "/admin/provisioning", admin_provisioning.count, "operator", None, None, (503,)),
    Route("POST", "/admin/provisioning/renew", admin_provisioning.renew, "operator", None, None, (503,), 202),
    Route("POST", "/admin/refresh", admin.refresh_user, "operator", models.UserRequest, None, (*_BODY, 404, 503), 202),
    Route("POST", "/admin/provisioning/retry", admin_provisioning.retry, "operator", None, None, (503,)),
    Route("GET", "/admin/notices", admin_notices.list_notices, "operator", None, None, (400, 503)),
    Route("POST", "/admin/notices/replay", admin_notices.replay_notices, "operator", models.ReplayRequest, None,
          (*_BODY, 404, 503)),
    Route("POST", "/admin/reconcile", admin_reconcile.start_reconcile, "operator", models.ReconcileRequest, None,
          (*_BODY, 404, 409), 202),
    Route("GET", "/admin/reconcile", admin_reconcile.show_reconcile, "operator"),
    Route("GET", "/admin/account", admin_customers.show_account, "operator", None, None, (503,)),
    Route("POST", "/admin/adopt", admin_customers.adopt, "operator", models.AdoptRequest, None,
          (*_BODY, 404, 409, 502, 503)),
    Route("GET", "/admin/users", admin_users.list_users, "operator", None, None, (400, 404, 503)),
    Route("POST", "/admin/users/move", admin_customers.move, "operator", models.MoveRequest, None,
          (*_BODY, 404, 409, 502, 503)),
    Route("GET", "/admin/users/{app_id}/{user_id}", admin_customers.preview_forget, "operator", None, None,
          (400, 404, 409, 502, 503)),
    Route("DELETE", "/admin/users/{app_id}/{user_id}", admin_customers.forget, "operator", None, None,
          (400, 404, 409, 502, 503)),
    Route("POST", "/admin/gate/explain", admin_gate.explain_gate, "operator", models.GateExplainRequest, None,
          (*_BODY, 404, 503)),
    Route("POST", "/admin/examine", admin_examine.examine, "operator", None, None, (503,)),
    Route("POST", "/admin/limits/check", admin_examine.check_limits, "operator", None, None, (503,)),
    Route("POST", "/admin/portals/push", admin_examine.push_portals, "operator", None, None, (409, 502, 503)),
    Route("POST", "/admin/reload", admin.reload_catalog, "operator", None, None, (409, 503)),
)  # fmt: skip
