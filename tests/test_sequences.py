"""Random sequences of public calls: nothing is other than on a bare twin, and no checkpoint and no row is lost."""

from __future__ import annotations

import importlib

import pytest
from helpers import classifier, nightly, samples
from machines import FEW, HOURS, MANY, MineError, ending_callback, run_sequences
from sequences import OnKeras, OnTfKeras

from tf_hfwb import WandbModelCheckpoint
from tf_hfwb.checkpoint.store import Store


@pytest.mark.parametrize("machine", [OnKeras, nightly(OnTfKeras)])
@pytest.mark.parametrize(("seed", "number"), [*FEW, *MANY, *HOURS])
def test_sequences(machine, seed, number):
    run_sequences(machine, seed, number)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_steps_go_on_after_an_exception_and_compile(kind):
    x, y = samples(12)
    model = classifier(kind)
    for way in ("raise", ""):
        ending = ending_callback(importlib.import_module(kind), way, 3, "batch")
        try:
            model.fit(x, y, batch_size=4, verbose=0, callbacks=[WandbModelCheckpoint("out", save_freq=1), ending])
        except MineError:
            model.compile("sgd", model.loss)
    assert [checkpoint.step for checkpoint in Store("out").checkpoints()][-1] == 6
