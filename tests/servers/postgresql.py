"""A private PostgreSQL for tests: its own folder, an ephemeral port, stopped by its own pid."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql


class Cluster:
    """A running server that anyone on this machine may use as `postgres`; its data is not synced, so keep none."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self.port = _free_port()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a fresh, empty database. Its sorting is a language's and not by bytes, as on many a server."""
        name = f"t{secrets.token_hex(8)}"
        self.admin(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'").format(
                sql.Identifier(name)
            )
        )
        return self.url(name)

    def admin(self, statement: sql.Composable, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Run one statement as the owner of the server; its rows, if any."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as conn:
            cursor = conn.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def initialize(self) -> None:
        """Create the files of the server. Once."""
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run(
            "pg_ctl", "-D", str(self._data), "-l", str(self._folder / "log"), "-w", "-t", "60", "-o", options, "start"
        )

    def stop(self) -> None:
        """Stop it at once, cutting every connection; pg_ctl signals the pid in this folder and no other."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        # pg_ctl leaves the server with its standard streams: a pipe would never end.
        with (self._folder / "output").open("ab") as output:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                **_identity(),
            )
        if done.returncode != 0:
            reason = "\n".join(
                path.read_text() for path in (self._folder / "output", self._folder / "log") if path.exists()
            )
            raise RuntimeError(f"{program} failed: {reason}")


@contextmanager
def cluster(postgres: Path) -> Iterator[Cluster]:
    """A server while the block runs. `postgres` is the server's program; its companions lie beside it."""
    # /tmp and not pytest's folder: a socket's path is limited to 107 bytes, and its user must be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix="skpay-pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        server = Cluster(postgres.resolve().parent, folder)
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _identity() -> dict[str, object]:
    """PostgreSQL refuses to run as root, so root runs it as Debian's user for it."""
    if os.getuid() != 0:
        return {}
    owner = pwd.getpwnam("postgres")
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
