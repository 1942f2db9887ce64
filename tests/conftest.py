"""What every test shares: in CI a skipped test is a failed one, since a check that is passed over protects nothing."""

import os
from collections.abc import Generator

import pytest

# A failed test shows the end of the log of each server that it used.
pytest_plugins = ["tests.support.plugin"]

_REMEDY = "skipped, and in CI a skip is a failure: install what the test needs (scripts/install-test-packages.sh)"


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps its reason; an expected failure (`xfail`) is left as it is."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{_REMEDY}\n{reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Refuse the skips of single tests and of their fixtures."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse the skips of whole modules (`importorskip`, `allow_module_level`)."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(autouse=True)
def umask_stays() -> Generator[None, None, None]:
    """A command run inside the test process must not change what every later test makes: dpkg-deb refuses folders that
    a stray umask closed."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    after = os.umask(before)
    assert after == before, f"the umask was left at {after:03o}"
