"""The script that checks a GPU, on machines that have none."""

from __future__ import annotations

import importlib.util
import math
import os
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent / "gpu"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHON": sys.executable}
    return subprocess.run(
        [str(FOLDER / "run.sh"), *arguments], env=environ, capture_output=True, text=True, timeout=580
    )


@pytest.mark.nightly
def test_without_a_gpu_it_says_so_and_claims_nothing():
    ended = run()
    assert (ended.returncode, ended.stdout) == (
        0,
        "There is no GPU here that TensorFlow can use. Nothing was checked, and nothing is claimed.\n",
    ), ended.stderr


@pytest.fixture(scope="module")
def checks():
    spec = importlib.util.spec_from_file_location("gpu_checks", FOLDER / "gpu_checks.py")
    module = sys.modules["gpu_checks"] = importlib.util.module_from_spec(spec)
    before = dict(os.environ)
    spec.loader.exec_module(module)
    os.environ.clear()
    os.environ.update(before)
    return module


def test_a_value_out_of_its_bounds_fails(checks):
    assert checks.BOUNDS.keys() == checks.CHECKS.keys()
    good = {name: [bound.most for bound in bounds] for name, bounds in checks.BOUNDS.items()}
    lines, is_good = checks.table_of(good)
    assert is_good
    assert len(lines) == 1 + sum(map(len, good.values()))
    for name, values in good.items():
        for place in range(len(values)):
            for bad in (values[place] * 1.01, math.nan, math.inf):
                lines, is_good = checks.table_of({**good, name: [*values[:place], bad, *values[place + 1 :]]})
                assert not is_good
                assert sum("OUT OF BOUNDS" in line for line in lines) == 1
    lines, is_good = checks.table_of({**good, "XLA": "ValueError: no"})
    assert not is_good
    assert lines[-1].endswith("FAILED: ValueError: no")


@pytest.mark.nightly
def test_all_checks_run():
    ended = run("--rehearse")
    assert ended.returncode == 0, ended.stdout
    assert "FAILED" not in ended.stdout
