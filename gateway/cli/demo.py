"""`skpay demo`: the whole product on loopback, with fake vendors and the real Traefik."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import click

from gateway.cli.output import bad, good, say
from gateway.sandbox.demo.processes import log_end
from gateway.sandbox.demo.stage import Stage, open_stage
from gateway.sandbox.demo.story import Story
from gateway.sandbox.story_failed import StoryFailedError


@click.command()
@click.option("--story", is_flag=True, help="Play the story of one buyer and exit; 0 only if every step succeeded.")
@click.pass_context
def demo(context: click.Context, story: bool) -> None:
    """Try everything: no account, no key, no Docker, no network. Ctrl-C stops it and leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="skpayments-demo-") as folder:
        context.exit(asyncio.run(_demo(Path(folder), story)))


async def _demo(folder: Path, story: bool) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    playing = asyncio.create_task(_play(folder, story))
    interrupted = asyncio.create_task(stopping.wait())
    await asyncio.wait((playing, interrupted), return_when=asyncio.FIRST_COMPLETED)
    if not playing.done():
        say("\nstopping …")
        playing.cancel()
    interrupted.cancel()
    try:
        return await playing
    except asyncio.CancelledError:
        return 130 if story else 0


async def _play(folder: Path, story: bool) -> int:
    started = time.monotonic()
    async with open_stage(folder, good, fixed_ports=not story) as stage:
        if not story:
            _invite(stage)
            await asyncio.Event().wait()  # until canceled
        say("\nThe story", "cyan")
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
                await _story(session, stage).play()
        except StoryFailedError as exc:
            bad(str(exc))
            _print_log_path(folder / "skpayments.log")
            return 1
        say(f"\nEvery step succeeded. {time.monotonic() - started:.1f} s in all.", "green")
        return 0


def _story(session: aiohttp.ClientSession, stage: Stage) -> Story:
    return Story(
        session=session,
        app_url=stage.app_url,
        pay_url=stage.pay_url,
        stripe_url=stage.stripe_url,
        litellm_url=stage.litellm_url,
        litellm_key=stage.litellm_key,
        say=good,
    )


def _invite(stage: Stage) -> None:
    api = stage.dashboard_url.removesuffix("/dashboard/")
    say(f"""
Click here
  {stage.app_url}   the sample app: sign in with any name, try the paid page, upgrade
  {stage.stripe_url}        the fake Stripe: customers, let a renewal fail, move the clock
  {stage.dashboard_url}  the real Traefik's dashboard
  {stage.pay_url}/openapi.json  the API

Type here, in another shell
  cd {stage.folder}; . ./environment; {Path(sys.executable).with_name("skpay")} doctor --live --traefik-api {api}

apps.json, the generated Traefik files and the logs are in {stage.folder}; edit apps.json and see it reload.
Press Ctrl-C to stop everything.""")


def _print_log_path(log: Path) -> None:
    say("The end of SKPayments' log:")
    say(log_end(log))
