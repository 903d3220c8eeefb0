"""``--until``, in a small run of pytest of its own."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

import pytest

TESTS = """
import time
import pytest

@pytest.fixture
def costly(pytestconfig):
    assert time.time() < pytestconfig.option.until

def test_during_which_the_time_ends(costly, pytestconfig):
    pytestconfig.option.until = time.time()

@pytest.mark.parametrize("number", range(3))
def test_that_fails(costly, number):
    raise AssertionError

def test_that_is_skipped_anyway():
    pytest.skip("for a reason of its own")
"""
REASON = "not started: the time given to this run is over"


@pytest.fixture(params=[[], ["-n", "1"]], ids=["alone", "xdist"])
def run(request, tmp_path):
    """Runs the tests above; gives their end."""
    (tmp_path / "test_some.py").write_text(TESTS)
    environment = {"PYTHONPATH": str(pathlib.Path(__file__).parent)}

    def run(until: float, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "time_limit", "-ra", "--until", str(until)]
        return subprocess.run(
            [*command, *request.param, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def test_no_test_is_started_after_the_time(run):
    ended = run(time.time() + 600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed, 4 skipped" in ended.stdout
    assert REASON in ended.stdout
    assert "1 tests were run, 4 were not started in the time given" in ended.stdout


def test_a_time_that_is_over(run):
    ended = run(0)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 tests were run, 5 were not started in the time given" in ended.stdout


def test_in_time_tests_fail_as_ever(run):
    ended = run(time.time() + 600, "-k", "fails or anyway")
    assert ended.returncode == 1
    assert "3 failed, 1 skipped" in ended.stdout
    assert "3 tests were run, 0 were not started in the time given" in ended.stdout


@pytest.mark.nightly
def test_files_come_in_another_order_in_another_run(run, tmp_path):
    for name in "abcdefgh":
        (tmp_path / f"test_{name}.py").write_text("def test_it(): pass")

    def order(until: float) -> list[str]:
        lines = run(until, "--collect-only", "-q").stdout.splitlines()
        return [line.partition("::")[0] for line in lines if line.endswith("::test_it")]

    until = time.time() + 600
    orders = [order(until + more) for more in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == [f"test_{name}.py" for name in "abcdefgh"]
