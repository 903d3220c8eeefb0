"""Epochs of ``steps_per_epoch`` steps over stored data, whose passes have another length."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import classifier, nightly, samples

from tf_hfwb import WandbModelCheckpoint, restore

pytestmark = [pytest.mark.core, pytest.mark.torch]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    ("kind", "save_freq"),
    [("keras", "epoch"), nightly("keras", 3), nightly("tf_keras", "epoch"), nightly("tf_keras", 3)],
)
def test_a_resume_between_epochs_goes_on_within_a_pass(kind, save_freq):
    pytest.importorskip(kind)
    x, y = samples(41)  # A pass has 11 batches.

    def fit(model, directory, epochs):
        callbacks = [WandbModelCheckpoint(directory, save_freq=save_freq)]
        model.fit(x, y, batch_size=4, steps_per_epoch=6, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
        return model.get_weights()

    expected = fit(classifier(kind, learning_rate=0.1), "whole", 3)
    fit(classifier(kind, learning_rate=0.1), "cut", 2)
    resumed = classifier(kind, learning_rate=0.1)
    position = restore(resumed, "cut")
    # Keras 3 ends an epoch early where a pass ends.
    assert (position.step, position.epoch, position.batch) == (11 if kind == "keras" else 12, 2, 0)
    for left, right in zip(fit(resumed, "cut", 3), expected, strict=True):
        np.testing.assert_array_equal(left, right)
