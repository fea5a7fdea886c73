"""Files: atomic writes, so that a reader sees the old text or the new one; strict decoding of UTF-8."""

from __future__ import annotations

import codecs
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from gateway.errors import ConfigError

# UTF-32 first: its mark begins with UTF-16's.
_OTHER_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)  # fmt: skip
_TEMPORARY = ".new"
_NEW_FILE_MODE = 0o644  # Traefik reads it as another user


class AtomicFile:
    """Replaces `path` by what is written to it, at `commit`: a temporary file beside it, fsync, rename, fsync of the
    folder. Until then, and after `discard`, the old file is unchanged.

    A symbolic link is refused, so that it can neither redirect the write nor be replaced by it. Raises `ConfigError`
    for a path that cannot be such a file; every method raises `OSError`.
    """

    def __init__(self, path: Path, mode: int | None = None) -> None:
        """`mode` None: that of the old file."""
        self._path = path
        kept = _mode(path)
        self._mode = kept if mode is None else mode
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY, dir=path.parent)
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError([f"{path}: the folder {path.parent} does not exist; create it or name another"]) from None
        self._temporary = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        """Make it durable and visible."""
        with self._file as file:
            file.flush()
            os.fchmod(file.fileno(), self._mode)
            os.fsync(file.fileno())
        self._temporary.replace(self._path)
        _sync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by a file of this content with the same mode; text is written as UTF-8. Raises as `AtomicFile`.

    Traefik drops every route while a file is rewritten in place. After a failure no temporary file is left.
    """
    file = AtomicFile(path)
    try:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.commit()
    except BaseException:
        file.discard()
        raise


def remove_abandoned(path: Path) -> None:
    """Remove the temporary files of writers of `path` that were killed. No other writer may be active."""
    for each in path.parent.iterdir():
        if each.name.startswith(f".{path.name}.") and each.name.endswith(_TEMPORARY):
            each.unlink(missing_ok=True)


def decoded(data: bytes) -> str:
    """The text of a file that must be UTF-8, with or without a byte order mark. Raises `ValueError` with the likely
    encoding and how to convert it."""
    for mark, encoding in _OTHER_BYTE_ORDER_MARKS:
        if data.startswith(mark):
            raise ValueError(f"is {encoding}, expected UTF-8; convert it: iconv -f {encoding} -t UTF-8")
    text = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in text:
        raise ValueError("holds NUL bytes (UTF-16 without its mark?), expected UTF-8")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = text.count(b"\n", 0, exc.start) + 1
        raise ValueError(
            f"line {line} is not UTF-8 (byte 0x{text[exc.start]:02x}; Windows-1252?), expected UTF-8;"
            " convert it: iconv -f WINDOWS-1252 -t UTF-8"
        ) from None


def _mode(path: Path) -> int:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _NEW_FILE_MODE
    if stat.S_ISLNK(mode):
        raise ConfigError([f"{path}: is a symbolic link; name its target"])
    if not stat.S_ISREG(mode):
        raise ConfigError([f"{path}: is not a regular file"])
    return stat.S_IMODE(mode)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
