"""Random sequences of calls of ``TFTrainer``: each training is what it is without them."""

from __future__ import annotations

import pytest
from helpers import nightly
from hypothesis.stateful import run_state_machine_as_test
from sequences import settings
from trainer_sequences import OnAKerasTrainer, OnATfKerasTrainer

MACHINES = OnATfKerasTrainer, OnAKerasTrainer


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_a_few_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(12))


@pytest.mark.hours
@pytest.mark.parametrize("machine", [nightly(machine) for machine in MACHINES])
def test_many_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(2_500, shrinks=True))
