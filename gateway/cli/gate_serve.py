"""`skpay gate serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal

import click
import uvloop

from gateway import log
from gateway.app.gate_process import GateProcess
from gateway.settings import GateSettings, read_gate_settings


@click.command()
@click.option("--heartbeat", type=int, hidden=True, help="A pipe to the process that started this one.")
@click.option("--name", default="gate", hidden=True, help="The label `process` of its metrics.")
def serve(heartbeat: int | None, name: str) -> None:
    """Serve only the gate until SIGTERM, beside the main process or on another machine.

    It needs GATE_SECRET, ADMIN_TOKEN, PUBLIC_URL, DATABASE_URL, APPS_FILE with the secrets that it names, and nothing
    of Stripe. It opens the database read-only. MAIN_URL is where it reports first-seen users and its metrics.
    """
    log.set_up()
    uvloop.run(_serve(read_gate_settings(os.environ), heartbeat, name))


async def _serve(found: GateSettings, heartbeat: int | None, name: str) -> None:
    gate = GateProcess(found, os.environ, heartbeat=heartbeat, name=name)
    stopping = gate.orphaned
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # it reads everything now
    starting = asyncio.create_task(gate.start())
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        # Most of today's objects live as long as the process; a full collection of them would block the gate for 50 ms.
        gc.collect()
        gc.freeze()
        loop.add_signal_handler(signal.SIGHUP, gate.reload)
        await stopped
    else:  # it waits for the database
        starting.cancel()
    logging.getLogger(__name__).info("stopping")
    await gate.stop()
    logging.getLogger(__name__).info("stopped")
