"""Losses that are not finite, in the rows and totals of a trainer."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import tensorflow as tf
from helpers import KERASES, finish, history, needs, nightly, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments

pytestmark = pytest.mark.keras3

LOSSES = [1.0, 2.0, math.nan, 4.0, math.inf, math.nan, -math.inf, 8.0, 9.0]


def trainer_of(package: str, **options) -> TFTrainer:
    """A trainer whose batches of one sample have these losses in this order; nothing is learned."""
    keras = importlib.import_module(package)
    x = keras.Input((1,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(1)(x))
    model.compile(loss=lambda y, outputs: y + 0.0 * outputs)
    features = {"x": np.ones((len(LOSSES), 1), "float32")}
    data = tf.data.Dataset.from_tensor_slices((features, np.array(LOSSES, "float32")[:, None])).batch(1)
    defaults = {"num_train_epochs": 1, "logging_steps": 2, "save_strategy": "no", "disable_tqdm": True}
    return TFTrainer(model, TFTrainingArguments(**{**defaults, **options}), train_dataset=data)


def rows_of(trainer: TFTrainer) -> tuple[list[float], float]:
    """The losses of the rows, and that of the whole training."""
    total = trainer.train().training_loss
    return [row["train/loss"] for row in train_rows(history(finish()))], total


@pytest.mark.parametrize("package", KERASES)
def test_losses_that_are_not_finite_are_left_out_of_means(package):
    trainer = trainer_of(package)
    rows, total = rows_of(trainer)
    np.testing.assert_allclose(rows, [1.5, 4.0, math.nan, 8.0, 9.0])
    assert total == pytest.approx(np.mean([1.0, 2.0, 4.0, 8.0, 9.0]))
    kept = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    np.testing.assert_array_equal(kept, rows)


@pytest.mark.parametrize("package", KERASES)
def test_without_the_filter_they_stay_where_they_are(package):
    rows, total = rows_of(trainer_of(package, logging_nan_inf_filter=False))
    np.testing.assert_allclose(rows, [1.5, math.nan, math.nan, -math.inf, 9.0])
    assert math.isnan(total)


@needs("tf_keras")
@pytest.mark.parametrize("stop", [3, nightly(5)])
def test_they_are_left_out_after_a_resume_too(stop):
    saved = {"save_strategy": "steps", "save_steps": stop, "output_dir": "out"}
    trainer_of("tf_keras", **saved).train()
    finish()
    rows, total = rows_of(trainer_of("tf_keras", **{**saved, "output_dir": "on"}))
    resumed = trainer_of("tf_keras", **{**saved, "output_dir": "on"})
    assert resumed.train(resume_from_checkpoint=f"out/checkpoint-{stop}").training_loss == total
    later = {row["train/global_step"]: row["train/loss"] for row in train_rows(history(finish()))}
    expected = dict(zip([2, 4, 6, 8, 9], rows, strict=True))
    assert all(np.array_equal(later[step], expected[step], equal_nan=True) for step in later)
