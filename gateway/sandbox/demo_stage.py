"""The demo's stage: a sandbox Stripe and LiteLLM, a sample app, SKPayments itself and the real Traefik, on loopback.

SKPayments and Traefik run as processes of their own, started as an operator would start them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import aiohttp
import yaml
from aiohttp import web

from gateway.errors import ConfigError, UpstreamFailed
from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.sample_app import sample_app
from gateway.sandbox.stripe import API_VERSION, StripeSandbox

READY_SECONDS = 40.0
STOP_SECONDS = 12.0
APP_HOST, PAY_HOST = "chat.localhost", "pay.localhost"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is. The app and the public listener are reached through Traefik. `environ` is SKPayments', and
    the file `environment` in `folder` says the same to a shell."""

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
async def open_stage(folder: Path, say: Callable[[str], None], *, for_clicks: bool = True) -> AsyncIterator[Stage]:
    """Start everything, bottom up, and stop it again in reverse; `say(line)` tells each step.

    `for_clicks`: on the same ports each time, where they are free; else on any, so that many can play at once.
    """
    traefik = _traefik()
    ports = {name: _port(wanted if for_clicks else 0) for name, wanted in _WANTED_PORTS.items()}
    keys = {name: f"{prefix}{secrets.token_hex(24)}" for name, prefix in _KEYS.items()}
    stage = Stage(
        folder=folder,
        app_url=f"http://{APP_HOST}:{ports['web']}",
        pay_url=f"http://{PAY_HOST}:{ports['web']}",
        stripe_url=f"http://127.0.0.1:{ports['stripe']}",
        litellm_url=f"http://127.0.0.1:{ports['litellm']}",
        litellm_key=keys["LITELLM_KEY"],
        dashboard_url=f"http://127.0.0.1:{ports['traefik']}/dashboard/",
        web_port=ports["web"],
    )
    apps = _apps(stage, ports)
    (folder / "apps.json").write_text(json.dumps(apps, indent=2) + "\n", encoding="utf-8")
    env = stage.environ
    env.update(_environment(stage, ports, keys))
    async with contextlib.AsyncExitStack() as stack:
        stripe = _stripe(apps, stage, keys)
        await _serve(stack, stripe.application(), ports["stripe"])
        await _serve(stack, LiteLLMSandbox(keys["LITELLM_KEY"]).application(), ports["litellm"])
        say("a pretend Stripe and a pretend LiteLLM are up")
        await _serve(stack, sample_app(keys["DEMO_APP_SECRET"], "Sample chat"), ports["app"])
        say("a sample app is up; it signs people in as Open WebUI does")
        log = folder / "skpayments.log"
        server = await _run(stack, [sys.executable, "-m", "gateway", "serve"], env, log)
        await _until_up(server, f"http://127.0.0.1:{ports['port']}/ready", log)
        say("SKPayments is ready")
        await _once([sys.executable, "-m", "gateway", "routes", "write", "--out", str(folder / "traefik")], env)
        say("skpay routes write made Traefik's configuration from apps.json")
        static = folder / "traefik.yml"
        static.write_text(yaml.safe_dump(_static(folder, ports)), encoding="utf-8")
        # The file provider fills the secret in from Traefik's own environment; no file ever holds it.
        traefik_env = {"GATE_SECRET": keys["GATE_SECRET"], "PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
        log = folder / "traefik.log"
        proxy = await _run(stack, [traefik, f"--configFile={static}"], traefik_env, log)
        await _until_up(proxy, f"http://127.0.0.1:{ports['web']}/", log, host=APP_HOST)
        say("the real Traefik routes to the app, through the gate")
        yield stage


_WANTED_PORTS = {
    "web": 8000, "traefik": 8001, "stripe": 8002, "litellm": 8003, "app": 8004, "port": 8005, "gate": 8006,
}  # fmt: skip
_KEYS = {
    "STRIPE_SECRET_KEY": "sk_test_", "STRIPE_WEBHOOK_SECRET": "whsec_", "LITELLM_KEY": "sk-", "GATE_SECRET": "",
    "ADMIN_TOKEN": "", "DEMO_APP_KEY": "", "DEMO_APP_SECRET": "",
}  # fmt: skip


def _apps(stage: Stage, ports: dict[str, int]) -> dict[str, Any]:
    """One app with the tiers of the shipped apps.json, on loopback."""
    day = {"budget_duration": "1d"}
    return {
        "routing": {
            "entry_points": ["web"],
            "gate_url": f"http://127.0.0.1:{ports['gate']}",
            "public_service_url": f"http://127.0.0.1:{ports['port']}",
            "traefik_url": f"http://127.0.0.1:{ports['web']}",
        },
        "apps": [
            {
                "id": "skai",
                "name": "Sample chat",
                "hosts": [APP_HOST],
                "upstream": f"http://127.0.0.1:{ports['app']}",
                "api_key": "env:DEMO_APP_KEY",
                "identity": [{"kind": "openwebui", "secret": "env:DEMO_APP_SECRET"}, {"kind": "user_key"}],
                "sign_in_url": f"{stage.app_url}/sign-in",
                "litellm": {"mode": "customer", "shared_key": "env:LITELLM_KEY"},
                "urls": {"success": f"{stage.app_url}/?upgraded=1", "cancel": f"{stage.app_url}/"},
                "grace": "7d",
                "anonymous": "tag",
                "tiers": [
                    {
                        "id": "free",
                        "name": "Free",
                        "limits": {
                            "max_budget": 1,
                            "tpm_limit": 100000,
                            "rpm_limit": 60,
                            "models": ["gpt-small"],
                            **day,
                        },
                    },
                    {
                        "id": "pro",
                        "name": "Pro",
                        "features": ["images"],
                        "prices": [_price("skai_pro_month", 2000, "month"), _price("skai_pro_year", 20000, "year")],
                        "limits": {"max_budget": 10, "tpm_limit": 500000, "rpm_limit": 60, **day},
                    },
                    {
                        "id": "enterprise",
                        "name": "Enterprise",
                        "features": ["images", "priority"],
                        "prices": [_price("skai_enterprise_month", 10000, "month")],
                        "limits": {"max_budget": 50, "tpm_limit": 2000000, "rpm_limit": 120, **day},
                    },
                    {
                        "id": "sovereign",
                        "name": "Sovereign",
                        "internal": True,
                        "features": ["images", "priority"],
                        "limits": {"max_budget": None, "tpm_limit": None, "rpm_limit": None},
                    },
                ],
                "routes": [{"path": "/reports", "min_tier": "pro"}, {"path": "/health", "public": True}],
            }
        ],
    }


def _price(lookup_key: str, unit_amount: int, interval: str) -> dict[str, Any]:
    return {"lookup_key": lookup_key, "unit_amount": unit_amount, "currency": "usd", "interval": interval}


def _environment(stage: Stage, ports: dict[str, int], keys: dict[str, str]) -> dict[str, str]:
    """SKPayments' environment, written for a shell too."""
    own = _settings(stage, ports, keys)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in own.items())
    (stage.folder / "environment").write_text(exports, encoding="utf-8")
    # Whatever this machine has set for a real installation must not meet the demo's.
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


def _stripe(apps: dict[str, Any], stage: Stage, keys: dict[str, str]) -> StripeSandbox:
    """A Stripe account that has the products and prices which apps.json names, and calls us through Traefik."""
    sandbox = StripeSandbox(secret_key=keys["STRIPE_SECRET_KEY"], public_url=stage.stripe_url)
    url = f"{stage.pay_url}/webhook/stripe"
    sandbox.add_endpoint(url, keys["STRIPE_WEBHOOK_SECRET"], api_version=API_VERSION)
    for app in apps["apps"]:
        for tier in app["tiers"]:
            if "prices" not in tier:
                continue
            product = sandbox.add_product(f"{app['name']} {tier['name']}")
            for price in tier["prices"]:
                sandbox.add_price(
                    product, price["unit_amount"], price["currency"], price["interval"], lookup_key=price["lookup_key"]
                )
    return sandbox


def _traefik() -> str:
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("traefik", path=places)
    if found is None:
        raise ConfigError(["traefik: not found; install it with: pip install 'skpayments[demo]'"])
    return found


def _port(wanted: int) -> int:
    """`wanted`, or any free port if somebody listens there."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError(["there is no free port on 127.0.0.1"])


async def _serve(stack: contextlib.AsyncExitStack, application: web.Application, port: int) -> None:
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()


async def _run(
    stack: contextlib.AsyncExitStack, command: list[str], env: dict[str, str], log: Path
) -> asyncio.subprocess.Process:
    """Start a process that lasts as long as the stage; a session of its own keeps Ctrl-C to us."""
    with _opened(log) as file:
        process = await asyncio.create_subprocess_exec(
            *command, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    stack.push_async_callback(_stop, process)
    return process


def _opened(log: Path) -> IO[bytes]:
    return log.open("wb")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _once(command: list[str], env: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise UpstreamFailed(f"{' '.join(command[2:])} failed:\n{output.decode(errors='replace')}")


async def _until_up(process: asyncio.subprocess.Process, url: str, log: Path, host: str | None = None) -> None:
    """Wait until the process answers 200; otherwise, or once it has ended, tell the end of its log."""
    deadline = time.monotonic() + READY_SECONDS
    headers = {"Host": host, "Accept": "application/json"} if host else {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        # A process that has ended may be answered for by whoever took its port from it.
        while time.monotonic() < deadline and process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.get(url, headers=headers, allow_redirects=False) as response:
                    if response.status == 200 and process.returncode is None:
                        return
            await asyncio.sleep(0.1)
    what = f"did not answer within {READY_SECONDS:.0f} s" if process.returncode is None else "ended"
    raise UpstreamFailed(f"What should answer {url} {what}. The end of {log}:\n{log_end(log)}")


def log_end(log: Path, lines: int = 15) -> str:
    """The last lines of a process' log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
