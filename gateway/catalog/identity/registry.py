"""The identity kinds, and the shape of an entry of apps.json's `identity`. Pure.

One shape for all kinds: which keys a kind has is checked by `rules`, with one problem for each key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field

from gateway.catalog.identity.header import HeaderEntry, HeaderIdentity
from gateway.catalog.identity.jwt import JwtEntry, JwtIdentity
from gateway.catalog.identity.kind import IdentityKind
from gateway.catalog.identity.litellm_key import LiteLLMKeyIdentity
from gateway.catalog.identity.openwebui import OpenWebUIEntry, OpenWebUIIdentity
from gateway.catalog.identity.user_key import UserKeyIdentity
from gateway.catalog.leaves import Leaf

KINDS: Mapping[str, type[IdentityKind]] = {
    each.kind: each for each in (OpenWebUIIdentity, JwtIdentity, HeaderIdentity, LiteLLMKeyIdentity, UserKeyIdentity)
}

ALL_KEYS = tuple(dict.fromkeys(key for kind in KINDS.values() for key in (*kind.required, *kind.optional)))
"""Of every kind, without `kind` itself."""


def _entry_schema() -> dict[str, Any]:
    """For an editor: which keys each kind has."""
    return {
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": name}}},
                "then": {
                    "required": list(kind.required),
                    "properties": {key: False for key in ALL_KEYS if key not in (*kind.required, *kind.optional)},
                },
            }
            for name, kind in KINDS.items()
        ]
    }


if TYPE_CHECKING:
    _KindName = str  # a type checker cannot read the literals from a table
else:
    _KindName = Literal[tuple(KINDS)]


class IdentityShape(HeaderEntry, JwtEntry, OpenWebUIEntry):
    """One way to find the user in a request; the first credential that is present decides."""

    model_config = ConfigDict(json_schema_extra=_entry_schema())
    kind: Annotated[_KindName, Leaf("one of " + ", ".join(f'"{name}"' for name in KINDS))] = Field(
        description=" ".join(f"{name}: {kind.summary}." for name, kind in KINDS.items())
    )
