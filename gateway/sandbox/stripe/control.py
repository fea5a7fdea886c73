"""Control routes under /_sandbox: JSON in and out, no key, for a demo on loopback and for tests over HTTP."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from gateway.sandbox.stripe.account_state import CARDS
from gateway.sandbox.stripe.dashboard import Dashboard
from gateway.sandbox.stripe.faults import EFFECTS, Fault
from gateway.sandbox.stripe.refusal import ApiError, invalid

Json = dict[str, Any]
Control = Callable[[Dashboard, Json], Any]


def _state(dashboard: Dashboard, sent: Json) -> Json:
    return {
        "account_id": dashboard.account_id,
        "now": dashboard.state.time(),
        "shape": dashboard.shape,
        "cards": dict(dashboard.state.cards),
        "objects": dashboard.snapshot(),
    }


def _advance(dashboard: Dashboard, sent: Json) -> Json:
    seconds = sent.get("seconds", 0) + 86_400 * sent.get("days", 0)
    if not isinstance(seconds, int | float) or seconds < 0:
        raise invalid("seconds must be a number >= 0", param="seconds")
    dashboard.advance(seconds)
    return {"now": dashboard.state.time()}


def _card(dashboard: Dashboard, sent: Json) -> Json:
    dashboard.set_card(_text(sent, "customer"), sent.get("card", "ok"))
    return {"customer": sent["customer"], "card": dashboard.state.cards.get(sent["customer"])}


def _renew(dashboard: Dashboard, sent: Json) -> Any:
    card = sent.get("card")
    if card not in (None, *CARDS):
        raise invalid("card must be ok, fail or action", param="card")
    return {"invoice": dashboard.renew(_text(sent, "subscription"), card)}


def _fail_renewal(dashboard: Dashboard, sent: Json) -> Json:
    return {"invoice": dashboard.fail_next_renewal(_text(sent, "subscription"))}


def _pay_invoice(dashboard: Dashboard, sent: Json) -> Json:
    return {"invoice": dashboard.pay_open_invoice(_text(sent, "subscription"))}


def _cancel(dashboard: Dashboard, sent: Json) -> Json:
    dashboard.cancel(_text(sent, "subscription"), sent.get("reason", "cancellation_requested"))
    return {"canceled": sent["subscription"]}


def _dispute(dashboard: Dashboard, sent: Json) -> Json:
    status, reason = sent.get("status", "needs_response"), sent.get("reason", "fraudulent")
    return {"dispute": dashboard.dispute(_text(sent, "subscription"), status, reason)}


def _refund(dashboard: Dashboard, sent: Json) -> Json:
    amount = sent.get("amount")
    if amount is not None and (not isinstance(amount, int) or amount < 1):
        raise invalid("amount must be a whole number >= 1 of minor units", param="amount")
    return {"refund": dashboard.refund(_text(sent, "subscription"), amount)}


def _fraud_warning(dashboard: Dashboard, sent: Json) -> Json:
    return {"early_fraud_warning": dashboard.warn_of_fraud(_text(sent, "subscription"))}


def _emit(dashboard: Dashboard, sent: Json) -> Json:
    obj = sent.get("object")
    if not isinstance(obj, dict):
        raise invalid("Missing required param: object.", param="object", code="parameter_missing")
    return {"event": dashboard.emit(_text(sent, "type"), obj)}


def _deliveries(dashboard: Dashboard, sent: Json) -> Json:
    return dashboard.deliveries.shown()


def _pause(dashboard: Dashboard, sent: Json) -> Json:
    dashboard.deliveries.pause()
    return dashboard.deliveries.shown()


def _resume(dashboard: Dashboard, sent: Json) -> Json:
    order = sent.get("order", "parallel")
    if order not in ("parallel", "in_order", "reversed", "shuffled"):
        raise invalid("order must be parallel, in_order, reversed or shuffled", param="order")
    dashboard.deliveries.resume(order, copies=int(sent.get("copies", 1)))
    return dashboard.deliveries.shown()


def _resend(dashboard: Dashboard, sent: Json) -> Json:
    return {"endpoints": dashboard.deliveries.resend(_text(sent, "event"))}


def _faults(dashboard: Dashboard, sent: Json) -> Json:
    return {"faults": [dataclasses.asdict(fault) for fault in dashboard.faults.waiting]}


def _add_fault(dashboard: Dashboard, sent: Json) -> Json:
    names = {each.name for each in dataclasses.fields(Fault)} - {"fault_id"}
    if sent.get("effect") not in EFFECTS or not sent.keys() <= names:
        raise invalid(f"a fault has an effect of {', '.join(EFFECTS)} and of {', '.join(sorted(names))}")
    return dataclasses.asdict(dashboard.faults.add(Fault(**sent)))


def _clear_faults(dashboard: Dashboard, sent: Json) -> Json:
    dashboard.faults.clear()
    return {"faults": []}


def _requests(dashboard: Dashboard, sent: Json) -> Json:
    return {"requests": [dataclasses.asdict(request) for request in dashboard.api.log]}


def _clear_requests(dashboard: Dashboard, sent: Json) -> Json:
    dashboard.api.log.clear()
    return {"requests": []}


def _text(sent: Json, name: str) -> str:
    value = sent.get(name)
    if not isinstance(value, str) or not value:
        raise invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")
    return value


CONTROLS: dict[tuple[str, str], Control] = {
    ("GET", "/_sandbox/state"): _state,
    ("POST", "/_sandbox/clock/advance"): _advance,
    ("POST", "/_sandbox/card"): _card,
    ("POST", "/_sandbox/renew"): _renew,
    ("POST", "/_sandbox/fail_renewal"): _fail_renewal,
    ("POST", "/_sandbox/pay_invoice"): _pay_invoice,
    ("POST", "/_sandbox/cancel"): _cancel,
    ("POST", "/_sandbox/dispute"): _dispute,
    ("POST", "/_sandbox/refund"): _refund,
    ("POST", "/_sandbox/fraud_warning"): _fraud_warning,
    ("POST", "/_sandbox/emit"): _emit,
    ("GET", "/_sandbox/deliveries"): _deliveries,
    ("POST", "/_sandbox/deliveries/pause"): _pause,
    ("POST", "/_sandbox/deliveries/resume"): _resume,
    ("POST", "/_sandbox/deliveries/resend"): _resend,
    ("GET", "/_sandbox/faults"): _faults,
    ("POST", "/_sandbox/faults"): _add_fault,
    ("DELETE", "/_sandbox/faults"): _clear_faults,
    ("GET", "/_sandbox/requests"): _requests,
    ("DELETE", "/_sandbox/requests"): _clear_requests,
}


def control_routes(dashboard: Dashboard) -> list[web.RouteDef]:
    """One aiohttp route per control."""
    return [web.route(method, path, _served(dashboard, control)) for (method, path), control in CONTROLS.items()]


def _served(dashboard: Dashboard, control: Control) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def serve(request: web.Request) -> web.Response:
        try:
            sent = json.loads(await request.read() or b"{}")
            if not isinstance(sent, dict):
                raise invalid("a control takes a JSON object")
            return web.json_response(control(dashboard, sent))
        except json.JSONDecodeError:
            return web.json_response(invalid("not JSON").body(), status=400)
        except ApiError as exc:
            return web.json_response(exc.body(), status=exc.status)

    return serve
