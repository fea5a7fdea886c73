"""What a call is to its handler, and how a call is declared: method, path, parameters, handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.params import Spec

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """Typed parameters and the ids of the path, in their order."""

    params: Json
    ids: tuple[str, ...]

    @property
    def object_id(self) -> str:
        """The first id of the path."""
        return self.ids[0]


Handler = Callable[[AccountState, Call], Json]


@dataclass(frozen=True)
class Route:
    """`path` has `{}` for an id. Handlers return stored objects; the caller renders and expands them."""

    method: str
    path: str
    handler: Handler
    spec: Spec = field(default_factory=Spec)


def chosen(params: Mapping[str, Any], *names: str) -> Json:
    """Those of the named parameters that were sent."""
    return {name: params[name] for name in names if name in params}
