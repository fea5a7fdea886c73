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
# What `make test-quick` leaves out, beside each test that needs a vendor's program: folders and files, below tests/,
# that start a whole service for each test, start processes, or try many thousands of inputs …
_SLOW = (
    "app", "billing", "cli", "crash", "doctor", "gate/test_gate_crowds.py", "gate/test_gate_fuzz.py",
    "gate/test_gate_hostile.py", "gate/test_gate_request_cache.py", "gate/test_gate_request_cache_hits.py", "hostile",
    "parsers", "plugin", "routing/test_routing_plan.py", "scenarios", "store/test_store_backup.py",
    "store/test_store_opening.py", "store/test_store_upgrades.py", "story", "test_sop_commands.py", "test_wheel.py",
    "web",
)  # fmt: skip
# … and what it runs of these all the same: what a change in their folders breaks first.
_QUICK = (
    "app/test_app_key_sets.py", "billing/test_billing_receive.py", "billing/test_billing_worker.py",
    "cli/test_cli_files.py", "web/test_web_callers.py", "web/test_web_errors.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file only: within each, the order stays. Mark what is slow."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    for item in items:
        if _is_slow(item):
            item.add_marker("slow")


def _is_slow(item: pytest.Item) -> bool:
    path = item.path.relative_to(Path(__file__).parent)
    listed = path.as_posix() not in _QUICK and any(path.is_relative_to(each) for each in _SLOW)
    return listed or any(mark.name.startswith("needs_") for mark in item.iter_markers())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A report that can be sent between the processes that share the tests, whatever a test has logged."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
