"""Losses that are no numbers: what the user hears, and which checkpoints stay."""

from __future__ import annotations

import importlib
import logging
import os

import numpy as np
import pytest
import tensorflow as tf
from helpers import KERASES, nightly

from tf_hfwb import TFTrainer, TFTrainingArguments

pytestmark = pytest.mark.keras3

NAN, INF = float("nan"), float("inf")


def trainer_of(losses, package: str = "keras", callbacks=(), **options) -> TFTrainer:
    """A trainer whose steps have these losses. Their gradients are finite, so that a training may recover."""
    keras = importlib.import_module(package)
    x = keras.Input((1,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(1)(x))
    model.compile(loss=lambda y, outputs: y + 0.0 * outputs)
    features = {"x": np.ones((len(losses), 1), "float32")}
    data = tf.data.Dataset.from_tensor_slices((features, np.array(losses, "float32")[:, None])).batch(1)
    defaults = {"num_train_epochs": 1, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 1}
    args = TFTrainingArguments(**{"report_to": "none", "output_dir": "out", **defaults, **options})
    return TFTrainer(model, args, train_dataset=data, callbacks=list(callbacks))


def saved(directory: str = "out") -> list[int]:
    return sorted(int(name.split("-")[1]) for name in os.listdir(directory) if name.startswith("checkpoint-"))


def warnings_in(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "Expected a number" in record.getMessage()]


@pytest.mark.parametrize("package", KERASES)
def test_the_last_good_checkpoint_stays(package, caplog, capsys):
    trainer_of([1, 1, 1, 1, 1, NAN, NAN, NAN, NAN], package).train()
    assert saved() == [4, 9]
    (warning,) = warnings_in(caplog)
    assert warning.startswith("The loss of step 6 is nan.")
    assert "checkpoint-4 is the last one from before, and stays." in warning
    assert "  no numbers   the losses of 4 steps, first that of step 6\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1] * 9, [9]),
        ([1, 1, 1, 1, NAN, NAN, NAN], [7]),  # The weights of checkpoint-4 give NaN, and checkpoint-2 was gone by then.
        nightly([1, 1, NAN, NAN, 1, 1, 1], [7]),  # With the weights of checkpoint-4 the loss is a number again.
        ([1, 1, 1, INF, NAN, -INF, NAN], [2, 7]),
        nightly([NAN] * 5, [5]),
        ([1, 1, 1, NAN, 1, 1, 1, 1, 1, NAN, NAN, NAN], [8, 12]),
    ],
)
def test_a_checkpoint_is_good_if_its_weights_give_a_finite_loss(losses, expected, caplog):
    trainer_of(losses).train()
    assert saved() == expected
    assert len(warnings_in(caplog)) == (not np.isfinite(losses).all())


def test_the_good_checkpoint_counts_for_the_limit():
    trainer_of([1] * 7 + [NAN] * 6, save_total_limit=2).train()
    assert saved() == [6, 13]


@pytest.mark.parametrize("package", KERASES)
def test_a_callback_of_keras_ends_the_training(package, caplog, capsys):
    keras = importlib.import_module(package)
    trainer = trainer_of([1, 1, 1, NAN, NAN, NAN], package, [keras.callbacks.TerminateOnNaN()])
    assert trainer.train().global_step == 4
    assert saved() == [2, 4]
    assert "Training was ended early, at step 4 of 6" in capsys.readouterr().out
    assert "checkpoint-2 is the last one from before" in warnings_in(caplog)[0]


def test_debug_ends_the_training_before_anything_is_saved():
    x = np.full((6, 1), 1.0, "float32")
    x[3:] = NAN
    keras = importlib.import_module("keras")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    data = tf.data.Dataset.from_tensor_slices((x, x)).batch(1)
    args = TFTrainingArguments(
        "out", num_train_epochs=1, save_steps=2, save_total_limit=1, report_to="none", debug="underflow_overflow"
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        TFTrainer(model, args, train_dataset=data).train()
    assert saved() == [2]


def test_a_resume_from_a_bad_checkpoint_keeps_the_good_one():
    losses = [1, 1, 1, NAN] + [NAN] * 8
    trainer_of(losses, max_steps=6).train()
    assert saved() == [2, 6]
    trainer_of(losses, max_steps=12).train(resume_from_checkpoint=True)
    assert saved() == [2, 12]


@pytest.mark.nightly
def test_a_resume_from_a_good_checkpoint_keeps_that_one():
    losses = [1, 1, 1, 1, 1, 1, 1, NAN, NAN, NAN, NAN, NAN]
    trainer_of(losses, max_steps=6).train()
    assert saved() == [6]
    trainer_of(losses, max_steps=12).train(resume_from_checkpoint=True)
    assert saved() == [6, 12]


def test_it_is_seen_without_checkpoints_and_in_a_long_epoch(caplog):
    losses = np.ones(1300)
    losses[600:] = NAN
    seen = []

    class At(importlib.import_module("keras").callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if not seen and warnings_in(caplog):
                seen.append(batch)

    caplog.set_level(logging.WARNING)
    trainer_of(losses, save_strategy="no", callbacks=[At()]).train()
    (warning,) = warnings_in(caplog)
    assert warning.startswith("The loss of step 601 is nan. Expected a number. No checkpoint is from before.")
    assert seen[0] < 1200
