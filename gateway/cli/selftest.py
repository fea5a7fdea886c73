"""`skpay selftest`."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click

from gateway.catalog.model import App, Catalog
from gateway.cli.environment import apps_option, catalog_of
from gateway.cli.output import bad, good, say
from gateway.cli.progress import progress
from gateway.errors import ConfigError
from gateway.sandbox.stories import Story, stories
from gateway.sandbox.stories.delivery_order import DeliveryOrder, can_play
from gateway.sandbox.stories.player import StoryPlayer
from gateway.sandbox.stories.simulation import Simulation, open_simulation
from gateway.sandbox.story_failed import StoryFailedError
from gateway.sandbox.stripe.dashboard import Shape


@click.command()
@apps_option
@click.option("--app", "app_id", help="Only this app of apps.json.")
@click.option(
    "--orders",
    default=6,
    show_default=True,
    type=click.IntRange(1, 720),
    help="Orders of events to try for each story; several apps share them, and each app plays each story.",
)
@click.pass_context
def selftest(context: click.Context, apps_file: Path, app_id: str | None, orders: int) -> None:
    """Play every buyer's story against your own apps.json with fake vendors; exit 1 if one fails.

    It calls no vendor and changes nothing: it needs no key, no network and no running server. With --app, that app
    plays every order.
    """
    catalog = catalog_of(apps_file)
    apps = [app for app in catalog.apps.values() if app_id in (None, app.app_id)]
    if not apps:
        raise ConfigError([f"{apps_file}: has no app {app_id!r}" if app_id else f"{apps_file}: has no app"])
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # a story's failures are deliberate
    try:
        failed = asyncio.run(_selftest(catalog, apps, orders))
    finally:
        logging.disable(before)
    if failed:
        context.exit(1)


SHAPES: tuple[Shape, ...] = ("endive", "2024")


@dataclass(slots=True)
class _Count:
    runs: int = 0
    failed: int = 0


async def _selftest(catalog: Catalog, apps: list[App], orders: int) -> int:
    """The number of stories that failed."""
    count, played = _Count(), stories()
    with progress() as bar:
        task = bar.add_task("playing", total=len(apps) * len(played))
        for position, app in enumerate(apps):
            # A simulation for each app: each step searches all objects, also those that earlier apps left.
            async with open_simulation(catalog) as stage, aiohttp.ClientSession() as session:
                for number, story in enumerate(played):
                    bar.update(task, advance=1, description=app.app_id)
                    if not can_play(app, story):
                        say(f"- {app.app_id}: {story.name}: not played, as the app lacks what it needs")
                        continue
                    await _play(stage, app, story, session, runs_of_app(orders, len(apps), position), number, count)
    say(f"{count.runs} runs of {len(apps) * len(played)} stories, {count.failed} failed")
    return count.failed


def runs_of_app(orders: int, apps: int, position: int) -> list[tuple[Shape, int]]:
    """The runs (shape of Stripe's objects, number of the order) that the app at `position` plays.

    All apps together play every run of a story, and every app plays at least one.
    """
    every: list[tuple[Shape, int]] = [(shape, number) for number in range(orders) for shape in SHAPES]
    return every[position::apps] or [every[position % len(every)]]


async def _play(
    stage: Simulation,
    app: App,
    story: Story,
    session: aiohttp.ClientSession,
    runs: list[tuple[Shape, int]],
    turn: int,
    count: _Count,
) -> None:
    try:
        for nth, (shape, number) in enumerate(runs):
            stage.stripe.shape = shape
            await StoryPlayer(stage, app, DeliveryOrder(number, copies=1 + number % 2), session, turn + nth).play(story)
            count.runs += 1
    except StoryFailedError as exc:
        count.failed += 1
        bad(f"{app.app_id}: {exc}")
    else:
        good(f"{app.app_id}: {story.name} ({len(runs)} runs)")
