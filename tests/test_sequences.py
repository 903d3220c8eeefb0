"""Random sequences of public calls: nothing is other than on a bare twin, and no checkpoint and no row is lost."""

from __future__ import annotations

import pytest
from helpers import nightly
from hypothesis.stateful import run_state_machine_as_test
from sequences import OnKeras, OnTfKeras, settings

MACHINES = OnTfKeras, OnKeras


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_a_few_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(12))


@pytest.mark.parametrize("machine", [nightly(machine) for machine in MACHINES])
def test_many_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(2_500, shrinks=True))
