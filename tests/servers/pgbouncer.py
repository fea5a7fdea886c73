"""A real PgBouncer in transaction mode before a test's PostgreSQL: an ephemeral port, stopped by its own pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.postgresql import Cluster
from servers.traefik import free_port


@contextmanager
def pgbouncer(program: Path, server: Cluster, *settings: str) -> Iterator[int]:
    """Its port. `settings`: further lines of its configuration."""
    folder, port = Path(tempfile.mkdtemp(prefix="skpay-pgbouncer-")), free_port()
    folder.chmod(0o755)
    users, configuration = folder / "users", folder / "pgbouncer.ini"
    users.write_text('"postgres" ""\n')
    lines = (
        "[databases]", f"* = host=127.0.0.1 port={server.port} user=postgres", "[pgbouncer]", "listen_addr = 127.0.0.1",
        f"listen_port = {port}", "unix_socket_dir =", "auth_type = any", f"auth_file = {users}",
        "pool_mode = transaction", *settings,
    )  # fmt: skip
    configuration.write_text("\n".join(lines) + "\n")
    # It refuses to run as root.
    user = ("-u", "postgres") if os.getuid() == 0 else ()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(program), *user, str(configuration)], stdout=log, stderr=log)
    try:
        _wait(process, port, folder / "log")
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return
