"""The memory of a search does not grow with its trials."""

from __future__ import annotations

import pathlib

import pytest

SCRIPT = str(pathlib.Path(__file__).parent / "search_memory.py")
IN_A_TRAINING = 128  # MiB: weights, gradients and the two slots of the optimizer.


@pytest.mark.nightly
def test_twenty_trials_need_no_more_than_one_model_besides_that_of_the_first(launcher, tmp_path):
    ended = launcher.start(SCRIPT, "keras", "20", directory=tmp_path).wait(500)
    assert ended.returncode == 0, ended.stderr
    # The first two lines are of the check of the space and of the first trial, with the model of the trainer.
    found = [int(line.split()[1]) for line in ended.stdout.splitlines() if line.startswith("MiB")][2:]
    assert len(found) == 19
    assert found[-1] - found[0] < 1.3 * IN_A_TRAINING, found
