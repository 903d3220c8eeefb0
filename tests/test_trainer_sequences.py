"""Random sequences of calls of ``TFTrainer``: each training is what it is without them."""

from __future__ import annotations

import pytest
from helpers import nightly
from machines import FEW, HOURS, MANY, run_sequences
from trainer_sequences import OnAKerasTrainer, OnATfKerasTrainer


@pytest.mark.parametrize("machine", [OnATfKerasTrainer, nightly(OnAKerasTrainer)])
@pytest.mark.parametrize(("seed", "number"), [*FEW, *MANY, *HOURS])
def test_sequences(machine, seed, number):
    run_sequences(machine, seed, number)
