"""``pytest --until SECONDS``: no test is started after that time, in seconds since the epoch.

The tests that are left out are skipped and counted. A test that has begun is let finish.
"""

from __future__ import annotations

import time

import pytest

NOT_STARTED = "not started: the time given to this run is over"
OUTCOMES = ("passed", "failed", "error", "xfailed", "xpassed")


def pytest_addoption(parser):
    parser.addoption(
        "--until", type=float, metavar="SECONDS", help="start no test after this time, in seconds since the epoch"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before the fixtures, which take time too."""
    until = item.config.getoption("until")
    if until is not None and time.time() >= until:
        pytest.skip(NOT_STARTED)


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("until") is None:
        return
    stats = terminalreporter.stats
    run = {report.nodeid for outcome in OUTCOMES for report in stats.get(outcome, [])}
    left_out = [report for report in stats.get("skipped", []) if NOT_STARTED in str(report.longrepr)]
    terminalreporter.write_line(f"{len(run)} tests were run, {len(left_out)} were not started in the time given")
