"""Random sequences of public calls: nothing is other than on a bare twin, and no checkpoint and no row is lost."""

from __future__ import annotations

import hypothesis
import pytest
from helpers import nightly
from hypothesis.stateful import run_state_machine_as_test
from sequences import OnKeras, OnTfKeras
from trainer_sequences import OnAKerasTrainer, OnATfKerasTrainer

MACHINES = OnTfKeras, OnKeras, OnATfKerasTrainer, OnAKerasTrainer


def settings(number: int, *, shrinks: bool = True) -> hypothesis.settings:
    """The same sequences every time."""
    phases = (hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrinks else []))
    return hypothesis.settings(
        max_examples=number,
        stateful_step_count=8,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=phases,
        report_multiple_bugs=False,
        print_blob=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_a_few_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(10, shrinks=False))


@pytest.mark.parametrize("machine", [nightly(machine) for machine in MACHINES])
def test_many_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(2_500))
