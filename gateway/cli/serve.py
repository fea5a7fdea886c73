"""`skpay serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal

import click
import uvloop

from gateway import log
from gateway.app.application import Application
from gateway.cli.configuration import configuration
from gateway.errors import SkpayError
from gateway.settings import Settings


@click.command()
def serve() -> None:
    """Serve until SIGTERM; SIGHUP reads apps.json again."""
    log.set_up()
    found, _ = configuration()
    uvloop.run(_serve(found))


async def _serve(found: Settings) -> None:
    application = Application(found, os.environ)
    stopping = asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(application))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    starting, stopped = asyncio.create_task(application.start()), asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # it may wait for the database
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    # Most of today's objects live as long as the process; a full collection of them would block the gate for 50 ms.
    gc.collect()
    gc.freeze()
    loop.add_signal_handler(signal.SIGHUP, reload)
    await stopped
    logging.getLogger(__name__).info("stopping")
    await application.stop()
    logging.getLogger(__name__).info("stopped")


async def _reload(application: Application) -> None:
    try:
        await application.reload()
    except SkpayError as exc:
        logging.getLogger(__name__).error("catalog_refused", extra=log.fields(problem=exc.message))
