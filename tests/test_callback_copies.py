"""Callbacks are copied, as KerasTuner does for each of its trials."""

from __future__ import annotations

import copy
import pathlib

import pytest
from helpers import classifier, finish, history, nightly, samples, train_rows

from tf_hfwb import (
    ComputeMetrics,
    EarlyStopping,
    WandbEvalCallback,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
)

pytestmark = pytest.mark.core


class Digits(WandbEvalCallback):
    def __init__(self, *, rows):
        super().__init__(["id", "label"], ["epoch", "id", "label", "guess"])
        self.rows = rows

    def add_ground_truth(self, logs=None):
        for place, label in enumerate(self.rows):
            self.data_table.add_data(place, label)

    def add_model_predictions(self, epoch, logs=None):
        for place, label in enumerate(self.rows):
            self.pred_table.add_data(epoch, place, label, 0)


def made(x, y):
    return [
        WandbMetricsLogger(2),
        ComputeMetrics(lambda prediction: {"n": float(len(prediction.label_ids))}, (x, y)),
        EarlyStopping("val_loss", patience=1, min_delta=100),
        WandbEvalTable((x, y), num_samples=2),
        WandbWatch(log_freq=2),
        Digits(rows=[1, 2]),
        WandbModelCheckpoint("out", save_freq=3),
    ]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_copy_is_a_fresh_callback_made_alike(kind):
    x, y = samples(16)
    original = made(x, y)
    for trial in range(2):
        trained = copy.deepcopy(original)
        assert [type(one) for one in trained] == [type(one) for one in original]
        model = classifier(kind, learning_rate=0.1)
        model.fit(x, y, batch_size=4, epochs=4, validation_data=(x, y), verbose=0, callbacks=trained)
        # No evaluation is better than the first by that much: the second one is the last, in each of the trials.
        assert [row["train/global_step"] for row in train_rows(history(finish()))] == [2, 4, 6, 8]
        assert trained[2].stopped_step == 8, trial
        assert original[2].stopped_step == 0
        assert original[-1].best_checkpoint is None
    assert {path.name for path in pathlib.Path("out").glob("checkpoint-*")} == {
        "checkpoint-3",
        "checkpoint-6",
        "checkpoint-8",
    }
    assert copy.deepcopy(trained[2]).stopped_step == 0
