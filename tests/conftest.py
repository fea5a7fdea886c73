"""What more than one folder of tests needs."""

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings
from servers.litellm_server import real_litellm  # noqa: F401  # a fixture, found by its name

# A law is no slower for a machine that is busy with something else.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

_MEMORY = Path("/dev/shm")  # noqa: S108  # only as the parent of folders with random names
_MEMORY_BYTES = 2 << 30


def pytest_configure() -> None:
    """Put temporary files into memory where there is room for them, unless TMPDIR names another place.

    SQLite syncs each commit; on a disk a third of the time of all tests is spent waiting for that.
    """
    if "TMPDIR" not in os.environ and _has_room(_MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def _has_room(folder: Path) -> bool:
    """Whether files can be created and executed there. A container's /dev/shm may be small, or mounted noexec."""
    if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(folder).free >= _MEMORY_BYTES


# The files that take longest start first, so that no process is left alone with one of them at the end.
_LONGEST = ("test_stories.py", "test_openwebui.py", "test_hostile_matrix.py", "test_crash_kills.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file only: within each, the order stays."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A report that can be sent between the processes that share the tests, whatever a test has logged."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
