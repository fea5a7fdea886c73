"""`skpay selftest`."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
import click

from gateway.app.rehearsal import open_rehearsal
from gateway.app.story_player import Player, StoryFailedError, Telling, can_play
from gateway.catalog.model import App, Catalog
from gateway.cli.environment import apps_option, catalog_of
from gateway.cli.output import bad, good, say
from gateway.cli.progress import progress
from gateway.errors import ConfigError
from gateway.sandbox.stories import Story, stories


@click.command()
@apps_option
@click.option("--app", "app_id", help="Only this app of apps.json.")
@click.option("--orders", default=6, show_default=True, type=click.IntRange(1, 720), help="Orders of events to try.")
@click.pass_context
def selftest(context: click.Context, apps_file: Path, app_id: str | None, orders: int) -> None:
    """Play every buyer's story against your own apps.json with pretend vendors; exit 1 if one ends wrong.

    Nothing real is asked or changed: it needs no key, no network and no running server.
    """
    logging.disable(logging.CRITICAL)  # ordered failures are no news
    catalog = catalog_of(apps_file)
    apps = [app for app in catalog.apps.values() if app_id in (None, app.app_id)]
    if not apps:
        raise ConfigError([f"{apps_file}: has no app {app_id!r}" if app_id else f"{apps_file}: has no app"])
    if asyncio.run(_selftest(catalog, apps, orders)):
        context.exit(1)


async def _selftest(catalog: Catalog, apps: list[App], orders: int) -> int:
    """How many stories ended wrong."""
    failed = tellings = 0
    plays = [(app, story) for app in apps for story in stories()]
    async with open_rehearsal(catalog) as stage, aiohttp.ClientSession() as session:
        with progress() as bar:
            task = bar.add_task("playing", total=len(plays))
            for app, story in plays:
                bar.update(task, advance=1, description=app.app_id)
                if not can_play(app, story):
                    say(f"- {app.app_id}: {story.name}: needs what this app does not have")
                    continue
                try:
                    for shape in ("endive", "2024"):
                        stage.stripe.shape = shape
                        for number in range(orders):
                            await Player(stage, app, Telling(number, copies=1 + number % 2), session).play(story)
                            tellings += 1
                except StoryFailedError as exc:
                    failed += 1
                    bad(f"{app.app_id}: {exc}")
                else:
                    good(_told(app, story, orders))
    say(f"{tellings} tellings of {len(plays)} stories, {failed} ended wrong")
    return failed


def _told(app: App, story: Story, orders: int) -> str:
    return f"{app.app_id}: {story.name} ({orders} orders, both shapes, repeated)"
