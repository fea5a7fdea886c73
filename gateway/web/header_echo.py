"""Echo of the headers that come out of an app's middleware chain at Traefik, for `skpay doctor`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp import web

from gateway.access.header_echo_tokens import LIFETIME_SECONDS, header_echo_keys, verify_echo_token
from gateway.errors import BadSignature, NotFound
from gateway.web.context import BILLING, SITE

_NO_LETTER_OR_DIGIT = re.compile(r"[^a-z0-9]+")
# Headers that a backend may read as ours or as a property of the request: many read `_` or another sign in a name
# as `-`.
_REPORTED_PREFIXES = ("xsk", "xforwarded", "xoriginal", "xrewrite", "xhttpmethod", "xmethod", "forwarded")


class UsedEchoTokens:
    """Each token is valid once."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def use(self, keys: Sequence[bytes], text: str, app_id: str, now: int) -> str:
        """The nonce of a valid, unused token. Raises `NotFound`, as for any unknown address."""
        try:
            nonce = verify_echo_token(keys, text, app_id, now)
        except BadSignature:
            nonce = ""
        self._used = {used: until for used, until in self._used.items() if until > now}
        if not nonce or nonce in self._used:
            raise NotFound("There is nothing at this address.")
        self._used[nonce] = now + LIFETIME_SECONDS
        return nonce


USED_ECHO_TOKENS = web.AppKey("arrivals", UsedEchoTokens)


async def header_echo(request: web.Request) -> web.Response:
    """The names of the received headers that are ours or Traefik's, and whether the token's nonce is in the value.

    Never a value: doctor puts the nonce into each header that it forges, so that is enough.
    """
    app_id, text = request.query.get("app", ""), request.query.get("pass", "")
    keys = header_echo_keys(request.app[SITE].admin_tokens)
    nonce = request.app[USED_ECHO_TOKENS].use(keys, text, app_id, request.app[BILLING].work.now()).encode()
    headers = [
        {"name": name.decode("latin-1"), "forged": nonce in value}
        for name, value in request.raw_headers
        if _NO_LETTER_OR_DIGIT.sub("", name.decode("latin-1").lower()).startswith(_REPORTED_PREFIXES)
    ]
    return web.json_response({"app_id": app_id, "host": request.host, "headers": headers})
