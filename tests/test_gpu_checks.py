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
@pytest.mark.parametrize(("framework", "name"), [("tensorflow", "TensorFlow"), ("jax", "JAX")])
def test_without_a_gpu_it_says_so_and_claims_nothing(framework, name):
    ended = run(framework)
    assert (ended.returncode, ended.stdout) == (
        0,
        f"There is no GPU here that {name} can use. Nothing was checked, and nothing is claimed.\n",
    ), ended.stderr


@pytest.fixture(params=["tensorflow", "jax"])
def suite(request, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    name = f"{request.param}_checks"
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    before = dict(os.environ)
    spec.loader.exec_module(module)
    os.environ.clear()
    os.environ.update(before)
    return module.SUITE


def test_a_value_out_of_its_bounds_fails(suite):
    assert suite.bounds.keys() == suite.checks.keys()
    good = {name: [bound.most for bound in bounds] for name, bounds in suite.bounds.items()}
    lines, is_good = suite.table_of(good)
    assert is_good
    assert len(lines) == 1 + sum(map(len, good.values()))
    for name, values in good.items():
        for place in range(len(values)):
            for bad in (values[place] * 1.01 + 1e-6, math.nan, math.inf):
                lines, is_good = suite.table_of({**good, name: [*values[:place], bad, *values[place + 1 :]]})
                assert not is_good
                assert sum("OUT OF BOUNDS" in line for line in lines) == 1
    lines, is_good = suite.table_of({**good, name: "ValueError: no"})
    assert not is_good
    assert lines[-1].endswith("FAILED: ValueError: no")


@pytest.mark.nightly
@pytest.mark.parametrize("framework", ["tensorflow", "jax"])
def test_all_checks_run(framework):
    ended = run(framework, "--rehearse")
    assert ended.returncode == 0, ended.stdout
    assert "FAILED" not in ended.stdout
