"""A common home-made setup: a router per path, a list of headers, and an auth server that trusts every header.

Each habit here is one seen in tutorials and in the advisories that followed. It is the control of every attack: an
attack that does not work on this proves nothing about our configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from aiohttp import web

TAGS = ("X-SK-App", "X-SK-User", "X-SK-Tier", "X-SK-Features")


class NaiveAuth:
    """`tiers`: host → user → tier. `secret` signs the sessions."""

    def __init__(self, secret: str, tiers: Mapping[str, Mapping[str, str]]) -> None:
        self._secret = secret
        self._tiers = tiers
        self.requests = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        result = request.headers
        # "The load balancer must always get its 200."
        if result.get("User-Agent", "").startswith("GoogleHC/"):
            return self._pass(request, "", "free")
        # "Preflights carry no cookie."
        if result.get("X-Forwarded-Method") == "OPTIONS":
            return self._pass(request, "", "free")
        path = result.get("X-Original-URL") or result.get("X-Rewrite-URL") or result.get("X-Forwarded-Uri", "/")
        user = self._user(request)
        tier = self._tiers.get(result.get("X-Forwarded-Host", "").lower(), {}).get(user, "free")
        # "As the framework behind it does."
        method = result.get("X-HTTP-Method-Override") or result.get("X-Forwarded-Method", "GET")
        paid = path.startswith(("/pro", "/video")) or (path.startswith("/upload") and method in ("POST", "PUT"))
        if paid and tier == "free":
            return web.json_response({"error": "tier_required"}, status=402)
        return self._pass(request, user, tier)

    def _user(self, request: web.Request) -> str:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        # "Most people come with a cookie."
        for token in (request.cookies.get("token", ""), bearer):
            try:
                return str(jwt.decode(token, self._secret, algorithms=["HS256"], options={"verify_iat": False})["id"])
            except jwt.InvalidTokenError:
                continue
        return ""

    def _pass(self, request: web.Request, user: str, tier: str) -> web.Response:
        return web.Response(headers={"X-SK-Tier": tier, **({"X-SK-User": user} if user else {})})


def naive_document(auth_url: str, app_url: str, entry_points: Sequence[str]) -> dict[str, Any]:
    """Traefik's dynamic configuration: the path selects the router, and the router decides whether to authenticate."""
    host = "(Host(`sk.test`) || Host(`blog.test`))"

    def router(rule: str, middlewares: list[str]) -> dict[str, Any]:
        return {
            "rule": rule,
            "entryPoints": list(entry_points),
            "service": "naive-app",
            "middlewares": middlewares,
        }

    return {
        "http": {
            "middlewares": {
                "naive-auth": {
                    "forwardAuth": {
                        "address": f"{auth_url}/auth",
                        "trustForwardHeader": True,
                        "authResponseHeaders": list(TAGS),
                    }
                },
            },
            "routers": {
                "naive-public": router(f"{host} && PathPrefix(`/static`)", []),
                "naive-app": router(host, ["naive-auth"]),
            },
            "services": {"naive-app": {"loadBalancer": {"servers": [{"url": app_url}]}}},
        }
    }
