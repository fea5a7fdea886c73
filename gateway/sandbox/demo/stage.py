"""The demo's stage: a sandbox Stripe and LiteLLM, a sample app, SKPayments itself and the real Traefik, on loopback.

SKPayments and Traefik run as processes of their own, started as an operator would start them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.sandbox.demo.catalog import APP_HOST, apps_json, stripe_account
from gateway.sandbox.demo.processes import find_traefik, free_port, run, run_once, serve, wait_until_up
from gateway.sandbox.demo.sample_app import sample_app
from gateway.sandbox.litellm import LiteLLMSandbox

PAY_HOST = "pay.localhost"
_WANTED_PORTS = {
    "web": 8000, "traefik": 8001, "stripe": 8002, "litellm": 8003, "app": 8004, "port": 8005, "gate": 8006,
}  # fmt: skip
_KEYS = {
    "STRIPE_SECRET_KEY": "sk_test_", "STRIPE_WEBHOOK_SECRET": "whsec_", "LITELLM_KEY": "sk-", "GATE_SECRET": "",
    "ADMIN_TOKEN": "", "DEMO_APP_KEY": "", "DEMO_APP_SECRET": "",
}  # fmt: skip

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """The addresses of a running demo. The app and the public listener are reached through Traefik.

    `environ`: SKPayments' environment; the file `environment` in `folder` exports the same to a shell.
    """

    folder: Path
    app_url: str
    pay_url: str
    stripe_url: str
    litellm_url: str
    litellm_key: str
    dashboard_url: str
    web_port: int
    environ: dict[str, str] = field(default_factory=dict, repr=False)


@contextlib.asynccontextmanager
async def open_stage(folder: Path, say: Say, *, fixed_ports: bool = True) -> AsyncIterator[Stage]:
    """Start everything and stop it in reverse order; `say(line)` reports each step.

    `fixed_ports`: the same ports each time where they are free; else any, so that several demos can run at once.
    """
    traefik = find_traefik()
    ports: dict[str, int] = {}
    for name, requested in _WANTED_PORTS.items():
        ports[name] = free_port(requested if fixed_ports else 0, ports.values())
    keys = {name: f"{prefix}{secrets.token_hex(24)}" for name, prefix in _KEYS.items()}
    stage = _stage(folder, ports, keys)
    apps = apps_json(stage.app_url, ports)
    (folder / "apps.json").write_text(json.dumps(apps, indent=2) + "\n", encoding="utf-8")
    stage.environ.update(_environment(stage, ports, keys))
    async with contextlib.AsyncExitStack() as stack:
        await _start_fakes(stack, stage, apps, ports, keys, say)
        await _start_skpayments(stack, stage, ports, say)
        await _start_traefik(stack, stage, traefik, ports, keys, say)
        yield stage


def _stage(folder: Path, ports: dict[str, int], keys: dict[str, str]) -> Stage:
    return Stage(
        folder=folder,
        app_url=f"http://{APP_HOST}:{ports['web']}",
        pay_url=f"http://{PAY_HOST}:{ports['web']}",
        stripe_url=f"http://127.0.0.1:{ports['stripe']}",
        litellm_url=f"http://127.0.0.1:{ports['litellm']}",
        litellm_key=keys["LITELLM_KEY"],
        dashboard_url=f"http://127.0.0.1:{ports['traefik']}/dashboard/",
        web_port=ports["web"],
    )


async def _start_fakes(
    stack: contextlib.AsyncExitStack,
    stage: Stage,
    apps: dict[str, Any],
    ports: dict[str, int],
    keys: dict[str, str],
    say: Say,
) -> None:
    """Stripe, LiteLLM and the app, in this process."""
    webhook = f"{stage.pay_url}/webhook/stripe", keys["STRIPE_WEBHOOK_SECRET"]
    stripe = stripe_account(apps, keys["STRIPE_SECRET_KEY"], stage.stripe_url, webhook)
    await serve(stack, stripe.application(), ports["stripe"])
    await serve(stack, LiteLLMSandbox(keys["LITELLM_KEY"]).application(), ports["litellm"])
    say("a fake Stripe and a fake LiteLLM are up")
    await serve(stack, sample_app(keys["DEMO_APP_SECRET"], "Sample chat"), ports["app"])
    say("a sample app is up; it signs users in as Open WebUI does")


async def _start_skpayments(stack: contextlib.AsyncExitStack, stage: Stage, ports: dict[str, int], say: Say) -> None:
    skpay, log = [sys.executable, "-m", "gateway"], stage.folder / "skpayments.log"
    server = await run(stack, [*skpay, "serve"], stage.environ, log)
    await wait_until_up(server, f"http://127.0.0.1:{ports['port']}/ready", log)
    say("SKPayments is ready")
    await run_once([*skpay, "routes", "write", "--out", str(stage.folder / "traefik")], stage.environ)
    say("skpay routes write made Traefik's configuration from apps.json")


async def _start_traefik(
    stack: contextlib.AsyncExitStack,
    stage: Stage,
    traefik: str,
    ports: dict[str, int],
    keys: dict[str, str],
    say: Say,
) -> None:
    folder, log = stage.folder, stage.folder / "traefik.log"
    static = folder / "traefik.yml"
    static.write_text(yaml.safe_dump(_static(folder, ports)), encoding="utf-8")
    # The file provider reads the secret from Traefik's own environment; no file contains it.
    environ = {"GATE_SECRET": keys["GATE_SECRET"], "PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
    proxy = await run(stack, [traefik, f"--configFile={static}"], environ, log)
    await wait_until_up(proxy, f"http://127.0.0.1:{ports['web']}/", log, host=APP_HOST)
    say("the real Traefik routes to the app, through the gate")


def _environment(stage: Stage, ports: dict[str, int], keys: dict[str, str]) -> dict[str, str]:
    """SKPayments' environment; also written as a shell script."""
    own = _settings(stage, ports, keys)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in own.items())
    (stage.folder / "environment").write_text(exports, encoding="utf-8")
    # A real installation's settings on this machine must not reach the demo.
    inherited = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in keys}
    return {**inherited, **own}


def _settings(stage: Stage, ports: dict[str, int], keys: dict[str, str]) -> dict[str, str]:
    return {
        **keys,
        "STRIPE_API_BASE": stage.stripe_url,
        "LITELLM_URL": stage.litellm_url,
        "DATABASE_URL": f"sqlite:///{stage.folder / 'skpayments.db'}",
        "APPS_FILE": str(stage.folder / "apps.json"),
        "PUBLIC_URL": stage.pay_url,
        "HOST": "127.0.0.1",
        "PORT": str(ports["port"]),
        "GATE_PORT": str(ports["gate"]),
    }


def _static(folder: Path, ports: dict[str, int]) -> dict[str, Any]:
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "api": {"insecure": True},
        "entryPoints": {
            # A browser keeps its connections open, and Traefik would wait ten seconds for their end.
            "web": {
                "address": f"127.0.0.1:{ports['web']}",
                "transport": {"lifeCycle": {"graceTimeOut": "1s"}},
            },
            "traefik": {"address": f"127.0.0.1:{ports['traefik']}"},
        },
        "providers": {"file": {"directory": str(folder / "traefik" / "dynamic"), "watch": True}},
    }
