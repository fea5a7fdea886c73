"""The answers to "who is asking". Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

NOT_ACTIVATED = "not_activated"
"""The code of an account that waits for its activation."""
# The app itself may serve these as their user, who would then have neither tag nor limits.
_MAY_BE_ACCEPTED = frozenset(
    {
        "api_key_unsupported", "email_unverified", "reserved_user_id", "too_long_cookie", "too_many_cookies",
        "wrong_token_type", "wrong_user",
    }
)  # fmt: skip

Source = str
"""Where a credential stood: a header's name in lower case, or `cookie:` and the cookie's name."""


class AuthenticatedUser(NamedTuple):
    """A verified person. At `credential_expires_at` (epoch seconds, None: never) the credential must be seen anew:
    it is the token's expiry, or the end of the time for which whoever verified it is believed, whichever is first."""

    user_id: str
    credential_expires_at: int | None


class Administrator(AuthenticatedUser):
    """A verified person whom the app calls an administrator, where apps.json lets those pass the rules of routes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credential was sent."""


@dataclass(frozen=True, slots=True)
class RejectedCredential:
    """A credential was sent and does not verify. `reason` may be shown; `code` is for counting and explaining.
    `app_may_accept`: the app itself may take it all the same."""

    code: str
    reason: str
    source: Source
    app_may_accept: bool = False

    @property
    def is_cookie(self) -> bool:
        """Whether it was a cookie, which a browser sends by itself: perhaps another site's."""
        return self.source.startswith("cookie:")

    @property
    def signed_out(self) -> bool:
        """Whether the app takes this for somebody who is not signed in (or not activated yet), so that it needs its
        unpaid pages to sign in. Not so where the app may act on a credential that is refused here."""
        accepted = self.app_may_accept or self.code in _MAY_BE_ACCEPTED
        return self.code == NOT_ACTIVATED or (self.is_cookie and not accepted)


@dataclass(frozen=True, slots=True)
class CredentialLookup:
    """Only somebody else can tell whose credential this is: ask them (`ResolveLookup`), then answer.

    `kind` is the identity kind, `number` its place in the app's list. `credential` is what they are asked with.
    """

    kind: str
    number: int
    credential: bytes = field(repr=False)
    source: Source


Authentication = AuthenticatedUser | Anonymous | RejectedCredential
AuthenticationOrLookup = Authentication | CredentialLookup
ResolveLookup = Callable[[str, CredentialLookup], Awaitable[AuthenticatedUser | RejectedCredential]]
"""`(app_id, ask)` → whose it is. Raises `UpstreamFailed` while those who know do not answer."""
ANONYMOUS = Anonymous()
