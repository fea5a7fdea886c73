"""Whether LiteLLM enforces limits at all: a call that must be refused, made as the app makes its calls.

LiteLLM 1.106.2 checks a key's models, then the rate limits, then the request's own fields. So a call without
`messages` is refused with 429 where the rate limit of 0 is enforced, and with 400 where it is not: it reaches no
model and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.litellm.ids import PROBE_ID_PREFIX
from gateway.litellm.wire import Answer, Wire

EnforcementState = Literal["enforced", "not_enforced", "unproven"]
_UNKNOWN_MODEL = "skpay-doctor"
_NOT_LISTED = (401, 403, 404)
_NOT_REFUSED = (400, 404, 422)
"""Where the call came past the limits: to its own fields, or to a model that there is not."""


@dataclass(frozen=True, slots=True)
class EnforcementProof:
    """`detail` is what LiteLLM answered, for an operator; it holds no key."""

    state: EnforcementState
    detail: str


def probe_id(app_id: str) -> str:
    """The customer or internal user that stands for nobody; no user may have such an id."""
    return PROBE_ID_PREFIX + app_id


async def probe_enforcement(wire: Wire, user_header: str, own_id: str) -> EnforcementProof:
    """Call as `own_id`, whose rate limit is 0. `wire` has the app's shared key. Raises `UpstreamFailed`."""
    body = {"model": await _model(wire)}
    answer = await wire.call_as_app("POST", "/v1/chat/completions", body, {user_header: own_id})
    return EnforcementProof(_state(answer, own_id), f"{answer.status}: {wire.without_keys(answer.reason)[:200]}")


async def _model(wire: Wire) -> str:
    """One that the key may use, since a key's models are looked at first."""
    answer = await wire.call("GET", "/v1/models", expect=_NOT_LISTED)
    listed = answer.row.get("data")
    names = [row.get("id") for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    return str(names[0]) if names else _UNKNOWN_MODEL


def _state(answer: Answer, own_id: str) -> EnforcementState:
    """The id is looked for in the answer, since the shared key may have run into a rate limit of its own."""
    if answer.status == 429:
        return "enforced" if own_id in answer.reason else "unproven"
    return "not_enforced" if answer.ok or answer.status in _NOT_REFUSED else "unproven"
