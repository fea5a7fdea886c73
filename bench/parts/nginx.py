"""nginx `return 200`: the cost of a server that decides nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parts.processes import Server, free_port, running

_PROGRAM = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
# The gate's headers for a user of the benchmark's app; the last is as long as an assertion.
_TAGS = {
    "X-SK-App": "skai", "X-SK-Tier": "pro", "X-SK-Features": "images,voice",
    "X-SK-User": "chat:00000000-0000-4000-a000-000000000000", "X-SK-Assertion": "e" * 420,
}  # fmt: skip
_CONF = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr emerg;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} backlog=2048; server_tokens off;
    location / {{ {headers} return 200{body}; }}
  }}
}}
"""


@contextmanager
def nginx_running(core: int, folder: Path, *, tags: bool) -> Iterator[Server]:
    """One worker. With `tags` it answers as the gate does; without them it is an app."""
    assert _PROGRAM is not None, "nginx is not installed (Debian: apt install nginx-light)"
    folder.mkdir()
    port = free_port()
    headers = "".join(f"add_header {name} {value}; " for name, value in _TAGS.items()) if tags else ""
    conf = folder / "nginx.conf"
    conf.write_text(_CONF.format(folder=folder, port=port, headers=headers, body="" if tags else ' "ok"'))
    command = [_PROGRAM, "-p", str(folder), "-e", "stderr", "-c", str(conf)]
    with running(core, command, port) as server:
        yield server
