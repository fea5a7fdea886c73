"""The whole stack as an operator runs it: the real Open WebUI, LiteLLM and Traefik, SKPayments, Chromium.

Only Stripe and the models' provider are fakes. Traefik's access log shows which tags reached Open WebUI.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from servers.litellm_server import RealLiteLLM, running_litellm
from servers.openwebui_server import OpenWebUI, open_webui
from servers.running import GATE_SECRET, SESSION_SECRET, Running, running_application, served
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN, Traefik, free_port

from gateway.catalog import parse
from gateway.catalog.model import GateKind
from gateway.routing import plan, traefik_file

CHAT_HOST, PAY_HOST = "chat.localhost", "pay.localhost"
FREE_MODELS = ["gpt-small"]
IMAGE_MODEL = "gpt-image-1"  # Open WebUI knows by the name which parameters it takes
FREE_RPM = 8
"""Calls a minute of the free tier: the first message of a chat takes 4, each later one 2."""


@dataclass(frozen=True, slots=True)
class Stage:
    """`app_url` and `pay_url` are reached through Traefik, by the browser too."""

    app_url: str
    pay_url: str
    skpayments: Running
    openwebui: OpenWebUI
    litellm: RealLiteLLM
    access_log: Path

    def tags(self, path: str) -> list[tuple[str | None, str | None]]:
        """(X-SK-User, X-SK-Tier) of each request with this path that Traefik proxied to Open WebUI, oldest first."""
        lines = [json.loads(line) for line in self.access_log.read_text().splitlines() if line.startswith("{")]
        return [
            (line.get("request_X-Sk-User"), line.get("request_X-Sk-Tier"))
            for line in lines
            if line.get("RequestPath", "").partition("?")[0] == path and line.get("RequestHost") == CHAT_HOST
        ]

    async def tier(self, email: str) -> str:
        """The tier that SKPayments says an account has."""
        user = await self.openwebui.user(email)
        status, answer = await self.skpayments.json("GET", f"/status/skai/{user['id']}")
        assert status == 200, answer
        return str(answer["tier"])


@contextlib.asynccontextmanager
async def open_stage(folder: Path, gate: GateKind) -> AsyncIterator[Stage]:
    """Everything, with `gate` between Traefik and Open WebUI; about half a minute to start."""
    async with contextlib.AsyncExitStack() as stack:
        provider_url = await stack.enter_async_context(served(_provider()))
        litellm = await _litellm(stack, folder, provider_url)
        openwebui = await stack.enter_async_context(
            open_webui(litellm_url=litellm.url, litellm_key=litellm.master_key, secret=SESSION_SECRET)
        )
        dynamic, access_log = folder / "dynamic", folder / "access.log"
        dynamic.mkdir()
        static = _static(access_log, gate)
        traefik = await stack.enter_async_context(
            Traefik(static, dynamic, {"GATE_SECRET": GATE_SECRET}, PLUGINS_DIR if gate == "plugin" else None)
        )
        port = traefik.url.rpartition(":")[2]
        app_url, pay_url = f"http://{CHAT_HOST}:{port}", f"http://{PAY_HOST}:{port}"
        ports = {"PORT": str(free_port()), "GATE_PORT": str(free_port())}
        apps = json.dumps(_apps(app_url, openwebui.url, ports, gate))
        (folder / "apps.json").write_text(apps)
        (dynamic / "skpayments.yml").write_text(traefik_file(plan(parse(apps.encode()), pay_url)))
        environ = {"LITELLM_URL": litellm.url, "LITELLM_KEY": litellm.master_key, "PUBLIC_URL": pay_url, **ports}
        skpayments = await stack.enter_async_context(running_application(folder, **environ))
        await traefik.until_routers("sk-app-skai@file")
        await traefik.until_served(PAY_HOST)
        await _configure(openwebui, litellm)
        yield Stage(app_url, pay_url, skpayments, openwebui, litellm, access_log)


async def _litellm(stack: contextlib.AsyncExitStack, folder: Path, provider_url: str) -> RealLiteLLM:
    config = folder / "litellm.yaml"
    config.write_text(yaml.safe_dump(_litellm_config(provider_url)))
    block = running_litellm(config)
    litellm = await asyncio.to_thread(block.__enter__)

    async def stop() -> None:
        await asyncio.to_thread(block.__exit__, None, None, None)

    stack.push_async_callback(stop)
    return litellm


def _litellm_config(provider_url: str) -> dict[str, Any]:
    def model(name: str, provider_model: str, **more: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": provider_model, "api_key": "sk-none", **more}}

    return {
        "model_list": [
            model("gpt-small", "openai/gpt-4o-mini", mock_response="Hello from the small model."),
            model("gpt-big", "openai/gpt-4o", mock_response="Hello from the big model."),
            model(IMAGE_MODEL, "openai/gpt-image-1", api_base=provider_url),
        ],
        "general_settings": {
            "master_key": "os.environ/LITELLM_MASTER_KEY",
            "proxy_batch_write_at": 1,
            "user_header_mappings": [{"header_name": "X-OpenWebUI-User-Id", "litellm_user_role": "customer"}],
        },
    }


def _provider() -> web.Application:
    """The one call of OpenAI's API that LiteLLM cannot make up by itself: an image."""

    async def generate(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"created": 1, "data": [{"b64_json": base64.b64encode(_png()).decode()}]})

    app = web.Application()
    app.router.add_post("/images/generations", generate)
    return app


def _png(side: int = 16) -> bytes:
    """A square of one colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\x00" + b"\x30\x90\xd0" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _static(access_log: Path, gate: GateKind) -> dict[str, Any]:
    names = {"X-SK-User": "keep", "X-SK-Tier": "keep"}
    log = {
        "filePath": str(access_log),
        "format": "json",
        "fields": {"headers": {"defaultMode": "drop", "names": names}},
    }
    return {"accessLog": log, **(WITH_PLUGIN if gate == "plugin" else {})}


def _apps(app_url: str, upstream: str, ports: dict[str, str], gate: GateKind) -> dict[str, Any]:
    app = {
        "id": "skai",
        "name": "SKAI",
        "hosts": [CHAT_HOST],
        "upstream": upstream,
        "api_key": "env:SKAI_KEY",
        "identity": [{"kind": "openwebui", "secret": "env:SESSION_SECRET", "introspect": upstream}],
        "sign_in_url": f"{app_url}/auth",
        "litellm": {"mode": "customer"},
        "urls": {"success": f"{app_url}/?upgraded=1", "cancel": f"{app_url}/"},
        "anonymous": "tag",
        "tiers": [
            {"id": "free", "name": "Free", "limits": _limits(1, FREE_RPM, FREE_MODELS)},
            {
                "id": "pro",
                "name": "Pro",
                "features": ["images"],
                "prices": [{"lookup_key": "skai_pro_month"}],
                "limits": _limits(10, 200, [*FREE_MODELS, "gpt-big", IMAGE_MODEL]),
            },
        ],
    }
    routing = {
        "entry_points": ["web"],
        "gate": gate,
        "gate_url": [f"http://127.0.0.1:{ports['GATE_PORT']}"],
        "public_service_url": f"http://127.0.0.1:{ports['PORT']}",
    }
    return {"routing": routing, "apps": [app]}


def _limits(max_budget: int, rpm_limit: int, models: list[str]) -> dict[str, Any]:
    return {"max_budget": max_budget, "budget_duration": "1d", "rpm_limit": rpm_limit, "models": models}


async def _configure(openwebui: OpenWebUI, litellm: RealLiteLLM) -> None:
    """What SOP.md has an operator set in Open WebUI: sign-up, images through LiteLLM, the banner that sells."""
    config = await openwebui.admin("GET", "/api/v1/auths/admin/config")
    await openwebui.admin("POST", "/api/v1/auths/admin/config", {**config, "ENABLE_SIGNUP": True})
    images = await openwebui.admin("GET", "/api/v1/images/config")
    through_litellm = {
        "ENABLE_IMAGE_GENERATION": True,
        "ENABLE_IMAGE_PROMPT_GENERATION": False,
        "IMAGE_GENERATION_ENGINE": "openai",
        "IMAGE_GENERATION_MODEL": IMAGE_MODEL,
        "IMAGES_OPENAI_API_BASE_URL": f"{litellm.url}/v1",
        "IMAGES_OPENAI_API_KEY": litellm.master_key,
    }
    await openwebui.admin("POST", "/api/v1/images/config/update", {**images, **through_litellm})
    # "legacy": Open WebUI makes the image itself. Otherwise it leaves that to the model as a tool, and ours use none.
    models = {"DEFAULT_MODELS": "gpt-small", "DEFAULT_PINNED_MODELS": None, "MODEL_ORDER_LIST": []}
    legacy = {"DEFAULT_MODEL_PARAMS": {"function_calling": "legacy"}}
    await openwebui.admin("POST", "/api/v1/configs/models", models | legacy)
    banner = {"id": "upgrade", "type": "info", "content": "[Upgrade](/.skpayments/upgrade)", "dismissible": False}
    await openwebui.admin("POST", "/api/v1/configs/banners", {"banners": [{**banner, "timestamp": 1}]})
