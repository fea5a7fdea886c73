"""Writing files so that a reader sees the old text or the new one, never half of it."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from gateway.errors import ConfigError

_NEW_FILE_MODE = 0o644  # Traefik reads it as another user


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by a synced file of this content with the same mode; text is written as UTF-8.

    Traefik drops every route while a file is truncated and rewritten in place, so: temporary file beside it, fsync,
    rename, fsync of the folder. After any failure the old file stands and nothing is left over. A link is refused, so
    that nobody can lead the write elsewhere or lose a link to it. Raises `ConfigError` for a path that cannot be such
    a file and `OSError` where the disk fails.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    mode = _mode(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError([f"{path}: the folder {path.parent} is not there; create it or name another"]) from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _mode(path: Path) -> int:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _NEW_FILE_MODE
    if stat.S_ISLNK(mode):
        raise ConfigError([f"{path}: is a symbolic link; name the file that it leads to"])
    if not stat.S_ISREG(mode):
        raise ConfigError([f"{path}: is no regular file"])
    return stat.S_IMODE(mode)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
