"""An app and its people, as the tests of `access` and `gate` use them."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import replace

from gateway.catalog.identity import OpenWebUIIdentity, UserKeyIdentity
from gateway.catalog.model import App, Limits, Price, Route, Tier
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import Secret

NOW = 1_800_000_000
SESSION_SECRET = "session-secret-of-thirty-two-bytes!"
OLD_SECRET = "the-secret-before-it-was-rolled-over"
SESSION_REF = SecretRef("env", "WEBUI_SECRET_KEY")
SECRETS = {SESSION_REF: (Secret(SESSION_SECRET),)}

FREE = Tier("free", "Free", 0, (), (), Limits(), internal=False)
PRO = Tier("pro", "Pro", 1, (Price("price_pro"),), ("images",), Limits(), internal=False, was=("plus",))
STAFF = Tier("staff", "Staff", 2, (), ("images", "video"), Limits(), internal=True)
MAX = Tier("max", "Max", 3, (Price("price_max"),), ("images", "video"), Limits(), internal=False)

APP = App(
    app_id="skai",
    name="SKAI",
    hosts=("chat.example.com", "sk.test"),
    upstream="http://app:8080",
    api_key=None,
    identity=(OpenWebUIIdentity(SESSION_REF), UserKeyIdentity()),
    litellm=None,
    success_url="https://chat.example.com/?upgraded=1",
    cancel_url="https://chat.example.com/",
    grace_seconds=0,
    anonymous="tag",
    tiers=(FREE, PRO, STAFF, MAX),
    routes=(
        Route("/pro", min_tier="pro"),
        Route("/pro/logo", public=True),
        Route("/video", features=("video",)),
        Route("/upload", min_tier="pro", methods=("POST", "PUT")),
        Route("/report", min_tier="max", methods=("GET",)),
        Route("/static", public=True),
        Route("/free", min_tier="free"),
    ),
)


def with_app(**changes: object) -> App:
    """The sample app, changed."""
    return replace(APP, **changes)  # type: ignore[arg-type]  # the names are those of App


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    claims: dict[str, object] | bytes,
    *,
    secret: str = SESSION_SECRET,
    header: dict[str, object] | bytes | None = None,
    digest: str = "sha256",
) -> bytes:
    """A signed JWT of exactly these bytes or objects: made here by hand, not by the code under test."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, claims)]
    signed = ".".join(map(b64, parts))
    return f"{signed}.{b64(hmac.digest(secret.encode(), signed.encode(), digest))}".encode()


def session(user_id: str, expires_at: int = NOW + 86_400, secret: str = SESSION_SECRET) -> bytes:
    """A token as Open WebUI 0.12 issues it."""
    claims: dict[str, object] = {
        "id": user_id, "typ": "session", "auth_method": "password", "auth_time": NOW, "session_stamp": "s",
        "mfa_verified": False, "exp": expires_at, "jti": "j", "iat": NOW,
    }  # fmt: skip
    return token(claims, secret=secret)
