"""The answers to "who is asking". Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

Source = str
"""Where a credential stood: a header's name in lower case, or `cookie:` and the cookie's name."""


class Known(NamedTuple):
    """A verified person. At `credential_expires_at` (epoch seconds, None: never) the credential must be seen anew:
    it is the token's expiry, or the end of the time for which whoever verified it is believed, whichever is first."""

    user_id: str
    credential_expires_at: int | None


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credential was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A credential was sent and does not verify. `reason` may be shown; `code` is for counting and explaining."""

    code: str
    reason: str
    source: Source


@dataclass(frozen=True, slots=True)
class Ask:
    """Only somebody else can tell whose credential this is: ask them (`Resolve`), then answer.

    `kind` is the identity kind, `number` its place in the app's list. `credential` is what they are asked with.
    """

    kind: str
    number: int
    credential: bytes = field(repr=False)
    source: Source


Told = Known | Anonymous | Refused
Who = Told | Ask
Resolve = Callable[[str, Ask], Awaitable[Known | Refused]]
"""`(app_id, ask)` → whose it is. Raises `UpstreamFailed` while those who know do not answer."""
ANONYMOUS = Anonymous()
