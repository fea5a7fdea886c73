"""Explains step by step how the gate would answer a request."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict
from urllib.parse import urlsplit

from gateway.access.app_access import AppAccess
from gateway.access.assertion import Signer
from gateway.access.authentication import (
    AuthenticatedUser,
    AuthenticationOrLookup,
    CredentialLookup,
    RejectedCredential,
)
from gateway.access.authenticator import Authenticator
from gateway.access.cookies import REPEATED_HEADER_SEPARATOR
from gateway.access.hosts import host_name
from gateway.access.paths import Path, read_path
from gateway.access.table import TierTable
from gateway.catalog.model import App, Tier
from gateway.errors import InvalidInput, NotFound
from gateway.gate import request as names
from gateway.gate.handler import REQUESTS, GateHandler
from gateway.gate.request import Headers, canonical_names
from gateway.metrics import Registry
from gateway.settings import Secret

REDACTED_SIGNATURE = "not-shown"
_SECRET = Secret("of a gate without a listener")
_OURS = re.compile(r"(?i)x[^a-z0-9]*sk[^a-z0-9]|x-forwarded-")
_SCHEMES = ("http", "https", "ws", "wss")


class PlaceholderSigner(Signer):
    """Replaces the signer, because the explanation shows the assertion."""

    def __init__(self) -> None:
        """Without any key."""

    def sign(self, app_id: str, tier: Tier, user_id: str | None, now: int) -> bytes:
        return REDACTED_SIGNATURE.encode()


class Explainer:
    """Answers as `gate` does, without side effects. `access_of(app_id)` is an app as the gate has it, or None."""

    def __init__(
        self,
        gate: GateHandler,
        table: TierTable,
        access_of: Callable[[str], AppAccess | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gate = gate
        self._table = table
        self._access_of = access_of
        self._clock = clock

    async def explain(self, app_id: str, method: str, url: str, sent: Iterable[tuple[str, str]]) -> dict[str, object]:
        """The steps to the gate's answer, as JSON. The request is neither counted nor reported.

        `sent` are the visitor's headers, `url` the address after Traefik has normalised it (`/a/../b`). Headers that
        Traefik removes or sets (`X-SK-…`, `X-Forwarded-…`) are ignored; one that another middleware sets is read as set
        by it. Raises `InvalidInput`, `NotFound`.
        """
        access = self._access_of(app_id)
        if access is None:
            raise NotFound(f"The gate has no app {app_id[:80]!r}.", code="unknown_app")
        app, host, target = access.app, *_host_and_target(url)
        headers = _headers(sent, canonical_names(access.identity.request_headers))
        answer, outcome = await self._answer(access, host, target, method, headers)
        now = int(self._clock())
        authentication, path = access.identity.authenticate(headers, now), read_path(target)
        user_id = authentication.user_id if isinstance(authentication, AuthenticatedUser) else None
        tier_id = "" if user_id is None else self._table.tier_of(app.app_id, user_id, "")
        changes_at = None if user_id is None else self._table.changes_at(app.app_id, user_id)
        tier = app.tier(tier_id) or app.default_tier
        verdicts = access.policy.explain_routes(tier.tier_id, method, path)
        return {
            "app": _app(app),
            "host": {"asked": host, "read_as": host_name(host), "ours": host_name(host) in app.hosts},
            "path": _path(target, path),
            "identity": _identity(access.identity, headers, authentication),
            "tier": {"in_table": tier_id or None, "used": tier.tier_id, "changes_at": changes_at},
            "rules": [{**asdict(route), "verdict": verdict} for route, verdict in verdicts],
            "outcome": outcome,
            "answer": _read(answer),
        }

    async def _answer(
        self, access: AppAccess, host: str, target: str, method: str, headers: Headers
    ) -> tuple[bytes, str]:
        """The whole answer, and the outcome under which it would be counted."""
        registry = Registry()
        dry_run = self._gate.dry_run(access, registry, _SECRET, PlaceholderSigner(), REDACTED_SIGNATURE)
        request_headers = {
            names.GATE: _SECRET.reveal().encode(), names.HOST: host.encode(), names.URI: target.encode(),
            names.METHOD: method.encode(), **headers,
        }  # fmt: skip
        answer = dry_run.answer(b"GET", b"/gate?app=" + access.app.app_id.encode(), request_headers)
        if isinstance(answer, Coroutine):
            answer = await answer  # a credential lookup
        if not isinstance(answer, bytes):
            raise RuntimeError("the gate answered an app's request with a stream")
        return answer, registry.counter(*REQUESTS).counted()[0][2]


def _host_and_target(url: str) -> tuple[str, str]:
    """Host and request target, as Traefik passes them on."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in _SCHEMES or not parts.netloc or "@" in parts.netloc:
        raise InvalidInput("url: expected one such as https://chat.example.com/path.")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise InvalidInput("url: expected what a browser sends: visible ASCII, anything else percent-encoded.")
    return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _headers(sent: Iterable[tuple[str, str]], reads: Mapping[bytes, bytes]) -> Headers:
    """The headers that the gate reads, as it reads them."""
    found: Headers = {}
    for name, value in sent:
        canonical = reads.get(name.lower().encode())
        if canonical is None or _OURS.match(name):
            continue
        raw = value.strip(" \t").encode()
        found[canonical] = found[canonical] + REPEATED_HEADER_SEPARATOR + raw if canonical in found else raw
    return found


def _app(app: App) -> dict[str, object]:
    return {
        "app_id": app.app_id, "name": app.name, "hosts": list(app.hosts), "enforce": app.enforce,
        "anonymous": app.anonymous,
    }  # fmt: skip


def _path(target: str, path: Path) -> dict[str, object]:
    return {
        "asked": target.partition("?")[0],
        "literal": path.literal,
        "readings": None if path.readings is None else sorted(path.readings),
    }


def _identity(identity: Authenticator, headers: Headers, authentication: AuthenticationOrLookup) -> dict[str, object]:
    found: dict[str, object] = {"from": None, "user_id": None, "until": None, "code": None, "reason": None}
    if isinstance(authentication, AuthenticatedUser):
        found |= {"user_id": authentication.user_id, "until": authentication.credential_expires_at}
        found["from"] = identity.credential_source(headers)
    elif isinstance(authentication, RejectedCredential):
        found |= {"from": authentication.source, "code": authentication.code, "reason": authentication.reason}
    elif isinstance(authentication, CredentialLookup):
        reason = f"the {authentication.kind} lookup of this credential had no answer"
        found |= {"from": authentication.source, "code": "identity_unavailable", "reason": reason}
    return found


def _read(whole: bytes) -> dict[str, object]:
    head, _, body = whole.partition(b"\r\n\r\n")
    start, *lines = head.decode("ascii").split("\r\n")
    headers = [line.split(": ", 1) for line in lines]
    return {
        "status": int(start.split()[1]),
        "headers": headers,
        "body": json.loads(body) if body.startswith(b"{") else None,
    }
