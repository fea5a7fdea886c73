"""What more than one folder of tests needs."""

from collections.abc import Generator

import pytest
from hypothesis import settings
from servers.litellm_server import real_litellm  # noqa: F401  # a fixture, found by its name

# A law is no slower for a machine that is busy with something else.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

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
