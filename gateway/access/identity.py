"""Who is asking: the first credential present, in the app's own order, decides. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from gateway.access import jwt
from gateway.access.cookies import AGAIN, session_cookie
from gateway.access.keys import USER_KEY_PREFIX, UserKeys, key_hash
from gateway.access.remembered import MAX_SECONDS, Remembered
from gateway.access.who import ANONYMOUS, Known, Refused, Source, Who
from gateway.errors import NotAuthenticated

MAX_USER_ID = 200
SESSION_COOKIE: Source = "cookie:token"
_USER_KEY = USER_KEY_PREFIX.encode()
_AUTHORIZATION, _COOKIE, _API_KEY = b"Authorization", b"Cookie", b"X-Api-Key"


def is_user_id(value: object) -> bool:
    """1 to 200 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_USER_ID and value.isprintable()


def bearer(authorization: bytes) -> bytes | None:
    """The token of an `Authorization: Bearer`; None for another scheme, such as a proxy's Basic in front of the app.

    Raises `NotAuthenticated` if the header was sent twice.
    """
    if AGAIN in authorization:
        raise NotAuthenticated("the Authorization header was sent twice", code="duplicate_authorization")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip(b" \t")
    return b"" if authorization.lower() == b"bearer" else None


class Identity:
    """The identity kinds of one app, ready to be asked.

    `openwebui_secrets` is None where the app does not list `openwebui`, newest first where it does; `user_keys` is
    None where it does not list `user_key`. `remembered` belongs to exactly these secrets.
    """

    def __init__(
        self,
        app_id: str,
        *,
        openwebui_secrets: Sequence[bytes] | None = None,
        user_keys: UserKeys | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        if openwebui_secrets is not None and not (openwebui_secrets and all(openwebui_secrets)):
            raise ValueError(f"app {app_id}: an openwebui identity needs a secret that is not empty")
        self.app_id = app_id
        self.openwebui_secrets = None if openwebui_secrets is None else tuple(openwebui_secrets)
        self.user_keys = user_keys
        self.remembered = Remembered() if remembered is None else remembered

    def who(self, headers: Mapping[bytes, bytes], now: int) -> Who:
        """Whom the first credential present belongs to. One present that does not verify never falls through (T29).

        `headers` by the names that Go gives them; one sent more than once has its values joined by `AGAIN`. The order
        is Open WebUI's own: Bearer, cookie `token`, `x-api-key`. A Bearer `skp_…` is a user key where the app lists
        that kind; without `openwebui` nothing else counts as a credential.
        """
        source: Source = "authorization"
        try:
            authorization = headers.get(_AUTHORIZATION)
            if authorization is not None:
                token = bearer(authorization)
                if token is not None:
                    if self.user_keys is not None and token.startswith(_USER_KEY):
                        return self._key_owner(token)
                    if self.openwebui_secrets is not None:
                        return self._session(token, now)
            if self.openwebui_secrets is None:
                return ANONYMOUS
            cookies = headers.get(_COOKIE)
            if cookies is not None:
                source = SESSION_COOKIE
                token = session_cookie(cookies)
                if token is not None:
                    return self._session(token, now)
            api_key = headers.get(_API_KEY)
            if api_key is not None:
                source = "x-api-key"
                return self._session(api_key, now)
        except NotAuthenticated as exc:
            return Refused(exc.code, exc.message, source)
        return ANONYMOUS

    def _key_owner(self, token: bytes) -> Known:
        owner = (self.user_keys or {}).get(key_hash(token.decode("latin-1")))
        if owner is None or owner.app_id != self.app_id:
            raise NotAuthenticated("this user key is unknown or was revoked", code="unknown_key")
        return Known(owner.user_id, None)

    def _session(self, token: bytes, now: int) -> Known:
        """The user of an Open WebUI session token: claim `id`; `typ`, if present, must be `session`."""
        digest = hashlib.sha256(token).digest()
        held = self.remembered.get(digest, now)
        if held is not None:
            return held
        if token.startswith(b"sk-"):
            raise NotAuthenticated("API keys are not accepted here yet; use a session", code="api_key_unsupported")
        claims, expires_at = jwt.verify(token, self.openwebui_secrets or (), now)
        user_id = claims.get("id")
        if not isinstance(user_id, str) or not is_user_id(user_id):
            raise NotAuthenticated("the token names no user", code="malformed_token")
        if claims.get("typ", "session") != "session":
            raise NotAuthenticated("the token is not a session's", code="wrong_token_type")
        until = now + MAX_SECONDS
        if expires_at is not None:
            until = min(until, expires_at + jwt.SKEW_SECONDS)
        self.remembered.put(digest, user_id, until)
        return Known(user_id, until)
