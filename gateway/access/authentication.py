"""The possible results of authenticating a request. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

NOT_ACTIVATED = "not_activated"
"""The code of an account that waits for its activation."""
# The app itself may accept these: the user would then have neither tags nor limits.
_MAY_BE_ACCEPTED = frozenset(
    {
        "api_key_unsupported", "email_unverified", "reserved_user_id", "too_long_cookie", "too_many_cookies",
        "wrong_token_type", "wrong_user",
    }
)  # fmt: skip

Source = str
"""Where a credential was: a header's name in lower case, or `cookie:` and the cookie's name."""


class AuthenticatedUser(NamedTuple):
    """A verified user. At `credential_expires_at` (epoch seconds, None: never) the credential must be verified anew: it
    is the token's expiry or the end of the time for which the result is cached, whichever is first."""

    user_id: str
    credential_expires_at: int | None


class Administrator(AuthenticatedUser):
    """A verified administrator of the app, where apps.json lets administrators pass the rules of routes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credential was sent."""


@dataclass(frozen=True, slots=True)
class RejectedCredential:
    """A credential was sent and does not verify. `reason` may be shown; `code` is for metrics and `explain`.
    `app_may_accept`: the app itself may accept it nevertheless."""

    code: str
    reason: str
    source: Source
    app_may_accept: bool = False

    @property
    def is_cookie(self) -> bool:
        """Whether it was a cookie, which a browser sends automatically: it may be another site's."""
        return self.source.startswith("cookie:")

    @property
    def signed_out(self) -> bool:
        """Whether the app treats the user as not signed in (or not activated yet), so that its unpaid pages must stay
        open for signing in. False where the app may accept the credential that is rejected here."""
        accepted = self.app_may_accept or self.code in _MAY_BE_ACCEPTED
        return self.code == NOT_ACTIVATED or (self.is_cookie and not accepted)


@dataclass(frozen=True, slots=True)
class CredentialLookup:
    """Only the issuer can verify this credential: it must be asked (`ResolveLookup`) before the request is answered.

    `kind` is the identity kind, `number` its place in the app's list. `credential` is what the issuer is asked about.
    """

    kind: str
    number: int
    credential: bytes = field(repr=False)
    source: Source


Authentication = AuthenticatedUser | Anonymous | RejectedCredential
AuthenticationOrLookup = Authentication | CredentialLookup
ResolveLookup = Callable[[str, CredentialLookup], Awaitable[AuthenticatedUser | RejectedCredential]]
"""`(app_id, lookup)` → the result. Raises `UpstreamFailed` while the issuer does not answer."""
ANONYMOUS = Anonymous()
