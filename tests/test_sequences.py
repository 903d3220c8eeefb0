"""Random sequences of public calls: nothing is other than on a bare twin, and no checkpoint and no row is lost."""

from __future__ import annotations

import importlib

import pytest
from helpers import KERASES, classifier, nightly, samples
from hypothesis.stateful import run_state_machine_as_test
from sequences import MineError, OnKeras, OnTfKeras, ends, settings

from tf_hfwb import WandbModelCheckpoint
from tf_hfwb.checkpoint.store import Store

MACHINES = OnTfKeras, OnKeras


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_a_few_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(12))


@pytest.mark.hours
@pytest.mark.parametrize("machine", [nightly(machine) for machine in MACHINES])
def test_many_sequences(machine):
    run_state_machine_as_test(machine, settings=settings(2_500, shrinks=True))


@pytest.mark.parametrize("kind", KERASES)
def test_steps_go_on_after_an_exception_and_compile(kind):
    x, y = samples(12)
    model = classifier(kind)
    for way in ("raise", ""):
        ending = ends(importlib.import_module(kind), way, 3, "batch")
        try:
            model.fit(x, y, batch_size=4, verbose=0, callbacks=[WandbModelCheckpoint("out", save_freq=1), ending])
        except MineError:
            model.compile("sgd", model.loss)
    assert [checkpoint.step for checkpoint in Store("out").checkpoints()][-1] == 6
