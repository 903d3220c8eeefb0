"""``pytest --until SECONDS``: no test is started after that time, in seconds since the epoch.

The tests that are left out are skipped and counted. A test that has begun is let finish. Files come in an order that
differs from run to run, so that over many runs each of them has its turn.
"""

from __future__ import annotations

import random
import time

import pytest

NOT_STARTED = "not started: the time given to this run is over"
OUTCOMES = ("passed", "failed", "error", "xfailed", "xpassed")


def pytest_addoption(parser):
    parser.addoption(
        "--until", type=float, metavar="SECONDS", help="start no test after this time, in seconds since the epoch"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Shuffle the files by the time that is given, which all processes of xdist know."""
    until = config.getoption("until")
    if until is not None:
        files = list(dict.fromkeys(item.path for item in items))
        random.Random(until).shuffle(files)
        places = {path: place for place, path in enumerate(files)}
        items.sort(key=lambda item: places[item.path])


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
