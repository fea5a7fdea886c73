"""The answers to "who is asking". Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Source = Literal["authorization", "cookie", "x-api-key"]


class Known(NamedTuple):
    """A verified person. At `credential_expires_at` (epoch seconds, None: never) the credential must be seen anew:
    it is the token's expiry, or one hour after it was verified, whichever comes first."""

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


Who = Known | Anonymous | Refused
ANONYMOUS = Anonymous()
