"""pytest hook: a failed test's report shows the end of the log of each server that the test used.

The top conftest.py takes it in with `pytest_plugins = ["tests.support.plugin"]`.
"""

from collections.abc import Generator

import pytest

from tests.support.server import live_servers, recent_servers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add one section per server to the report of a failure."""
    report = yield
    if report.failed:
        for server in sorted({*live_servers, *recent_servers}, key=lambda server: server.log_path):
            report.sections.append((f"server log {server.log_path}", server.log_tail()))
    if call.when == "teardown":
        recent_servers.clear()
    return report
