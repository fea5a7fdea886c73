"""The gate's listener without the rest of the service: `python gate_server.py PORT USERS`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway.access import links
from gateway.access.app_access import app_access
from gateway.access.assertion import Signer, assertion_keys
from gateway.access.table import TierTable
from gateway.catalog import parse
from gateway.gate import GateHandler, listen
from gateway.metrics import Registry
from gateway.settings import Secret
from parts import people
from parts.processes import Server, free_port, running


async def serve(port: int, users: int) -> None:
    """All of `users` are on the tier pro."""
    catalog = parse(json.dumps(people.apps()).encode())
    app = catalog.apps["skai"]
    table = TierTable()
    table.replace("skai", ((user_id, "pro", None) for user_id in people.user_ids(users)))
    gc.freeze()
    gate = GateHandler(
        secrets=(Secret(people.GATE_SECRET),), public_url=people.PUBLIC_URL, table=table, registry=Registry(),
        sign_link=partial(links.sign, b"k" * 32),
    )  # fmt: skip
    secrets = {ref: (Secret(people.SESSION_SECRET),) for kind in app.identity for _, ref in kind.secret_refs}
    signer = Signer(people.PUBLIC_URL, assertion_keys((Secret("0f1e2d3c4b5a69788796a5b4c3d2e1f0"),)))
    gate.install({"skai": app_access(app, secrets, {})}, signer)
    gate.ready = True
    await listen(gate, "127.0.0.1", port)
    await asyncio.Event().wait()


@contextmanager
def gate_running(core: int, users: int = 1000) -> Iterator[Server]:
    port = free_port()
    with running(core, [sys.executable, __file__, str(port), str(users)], port) as server:
        yield server


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
