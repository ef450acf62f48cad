"""What every test runs under.

Where ``CI=true`` nothing may be skipped: there the vectors, the databases and the tools that some tests need are all
promised to be present, so a skip is a check that silently did not happen.
"""

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.commands import Sameview
from tests.objects import S3Server, s3_server

# Deadlines of single examples would make tests depend on the machine's load; a failure must depend on the seed only.
settings.register_profile("developer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("developer"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "developer")


@pytest.fixture
def sameview(capsys: pytest.CaptureFixture[str]) -> Sameview:
    """The command line, as a function."""
    return Sameview(capsys)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3-compatible server, which this process and those that it starts know as theirs."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where everything is promised to be present."""
    report = yield
    if _must_not_skip(report):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself as a whole."""
    report = yield
    if _must_not_skip(report):
        _fail(report)
    return report


def _must_not_skip(report: pytest.TestReport | pytest.CollectReport) -> bool:
    # An expected failure is reported as skipped too; strict markers keep those honest.
    return report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true"


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"nothing may be skipped in CI: {reason}"
