"""The app of the gate's benchmarks, with every feature of the gate, and its users."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

HOST = "chat.example.com"
PUBLIC_URL = "https://pay.example.com"
SESSION_SECRET = "0123456789abcdef0123456789abcdef"
GATE_SECRET = "fedcba9876543210fedcba9876543210"
NAMESPACE = "chat"
ACCESS = "https://team.cloudflareaccess.com"


def apps(upstream: str = "http://app:8080", routing: Mapping[str, object] | None = None) -> dict[str, Any]:
    """An apps.json: three kinds of identity, assertions, paid paths, public ones."""
    return {
        "routing": dict(routing or {}),
        "apps": [{
            "id": "skai", "name": "SKAI", "hosts": [HOST], "upstream": upstream,
            "identity": [
                {"kind": "openwebui", "secret": "env:SESSION_SECRET", "namespace": NAMESPACE},
                {"kind": "jwt", "issuer": ACCESS, "audience": "skai", "jwks_url": f"{ACCESS}/cdn-cgi/access/certs",
                 "header": "Cf-Access-Jwt-Assertion", "namespace": "access"},
                {"kind": "user_key"},
            ],
            "assertion": True, "sign_in_url": f"https://{HOST}/auth",
            "urls": {"success": f"https://{HOST}/", "cancel": f"https://{HOST}/"},
            "tiers": [
                {"id": "free", "name": "Free", "limits": {"max_budget": 1}},
                {"id": "pro", "name": "Pro", "prices": [{"price_id": "price_1"}], "features": ["images", "voice"],
                 "limits": {"max_budget": 10}},
            ],
            "routes": [
                {"path": "/api/v1/images", "min_tier": "pro"}, {"path": "/api/v1/audio", "features": ["voice"]},
                {"path": "/static", "public": True},
            ],
        }],
    }  # fmt: skip


def session_id(number: int) -> str:
    """A user's id at Open WebUI: a UUID."""
    text = hashlib.sha256(str(number).encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def user_ids(count: int) -> Iterator[str]:
    """Our ids of the same users."""
    return (f"{NAMESPACE}:{session_id(number)}" for number in range(count))


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


_HEAD = _b64(b'{"alg":"HS256","typ":"JWT"}')


def token(user: str, jti: str) -> str:
    """A session token with the claims of a real one of Open WebUI 0.12; made by hand, because benchmarks need many."""
    now = int(time.time())
    claims = {
        "id": user, "typ": "session", "auth_method": "password", "auth_time": now, "session_stamp": user,
        "mfa_verified": False, "exp": now + 2_419_200, "jti": jti, "iat": now,
    }  # fmt: skip
    signed = f"{_HEAD}.{_b64(json.dumps(claims).encode())}"
    return f"{signed}.{_b64(hmac.digest(SESSION_SECRET.encode(), signed.encode(), 'sha256'))}"


def write_cookies(path: Path, users: Iterable[str]) -> Path:
    """A cookie per line, one for each of these users of Open WebUI, all different."""
    path.write_text("".join(f"token={token(user, f'{at}-{user}')}\n" for at, user in enumerate(users)))
    return path


def some_of(count: int, sessions: int) -> list[str]:
    """So many ids at Open WebUI of `count` users, picked at random, the same each time. No id is picked twice unless
    there are fewer of them; then each has several sessions."""
    chosen = random.Random(count)  # noqa: S311  # no secret
    rounds = [chosen.sample(range(count), min(count, sessions)) for _ in range(-(-sessions // count))]
    return [session_id(number) for some in rounds for number in some][:sessions]
