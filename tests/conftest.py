"""What more than one folder of tests needs."""

from collections.abc import Generator

import pytest
from hypothesis import settings
from servers.litellm_server import real_litellm  # noqa: F401  # a fixture, found by its name

# A law is no slower for a machine that is busy with something else.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A report that can be sent between the processes that share the tests, whatever a test has logged."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
