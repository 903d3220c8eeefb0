"""Keras 3 on JAX where neither TensorFlow, tf_keras nor transformers is installed."""

from __future__ import annotations

import importlib.util
import signal
import sys

import keras
import numpy as np
import pytest
from forking import Launcher
from helpers import classifier, finish, history, samples, train_rows

from tf_hfwb import (
    ComputeMetrics,
    EarlyStopping,
    TFTrainer,
    WandbEvalTable,
    WandbWatch,
    export_for_serving,
    from_pretrained,
    load_model,
    wandb_callbacks,
)
from tf_hfwb.cli import main
from tf_hfwb.errors import MissingPackageError
from tf_hfwb.keras_compat import host_of

pytestmark = pytest.mark.core
HEAVY = ("tensorflow", "tf_keras", "transformers")
only_light = pytest.mark.skipif(any(map(importlib.util.find_spec, HEAVY)), reason="they are installed here")

# A training with dropout that prints a digest of all that it has changed; it kills itself at a step, if one is given.
TRAINING = """
import hashlib, os, signal, sys, time
import keras, numpy as np
from helpers import samples
from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, restore
from tf_hfwb.checkpoint.store import Store

directory, kill_at, *resumed = sys.argv[1:]

class KillAt(keras.callbacks.Callback):
    steps = 0
    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if str(self.steps) == kill_at:
            while not Store(directory).checkpoints():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

keras.utils.set_random_seed(0)
layers = keras.layers
model = keras.Sequential([layers.Input((4,)), layers.Dense(16), layers.BatchNormalization(), layers.Dropout(0.4),
                          layers.Dense(3)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
if resumed:
    assert restore(model, directory) is not None
saver = WandbModelCheckpoint(directory, save_freq=3, log_model="false")
callbacks = [WandbMetricsLogger(2), saver, KillAt()]
model.fit(*samples(41), batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
variables = [*model.variables, *model.optimizer.variables]
print(hashlib.sha256(b"".join(np.asarray(one.value).tobytes() for one in variables)).hexdigest())
assert "tensorflow" not in sys.modules and "transformers" not in sys.modules
"""


@pytest.fixture(scope="module")
def jax():
    pytest.importorskip("jax")
    with Launcher(KERAS_BACKEND="jax") as launcher:
        yield launcher


@only_light
@pytest.mark.parametrize("kill_at", [5, pytest.param(16, marks=pytest.mark.nightly)])
def test_a_killed_training_is_resumed_bit_for_bit(jax, tmp_path, kill_at):
    whole = jax.python(TRAINING, str(tmp_path / "whole"), "-").stdout
    directory = str(tmp_path / "killed")
    assert jax.python(TRAINING, directory, str(kill_at), check=False).returncode == -signal.SIGKILL
    assert jax.python(TRAINING, directory, "-", "resume").stdout == whole


def _accuracy(prediction) -> dict:
    logits, labels = prediction
    return {"in_python": np.mean(logits.argmax(-1) == labels)}


def test_all_callbacks_together(capsys):
    x, y = samples(32)
    model = classifier("keras", learning_rate=0.1)
    stop = EarlyStopping("val_loss", patience=1, min_delta=9)
    others = [WandbWatch("all", log_freq=4), stop, ComputeMetrics(_accuracy, (x, y)), WandbEvalTable((x, y))]
    callbacks = wandb_callbacks("out", log_freq=2, callbacks=others)
    model.fit(x, y, validation_data=(x, y), batch_size=8, epochs=5, verbose=0, callbacks=callbacks)
    assert stop.stopped_step == 8
    rows = history(finish())
    assert [row["train/global_step"] for row in train_rows(rows)] == [2, 4, 6, 8]
    by_keras, in_python = ([row[name] for row in rows if name in row] for name in ("eval/accuracy", "eval/in_python"))
    assert in_python == pytest.approx(by_keras)
    assert len(in_python) == 2
    loaded = load_model("out/checkpoint-8")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert main(["table", "wandb/latest-run", "sample_predictions", "--format", "csv"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert {"input", "label", "prediction"} <= set(header.split(",")), header
    assert len(lines) == 64
    assert main(["checkpoints", "out"]) == 0
    assert "eval/loss" in capsys.readouterr().out
    if not any(map(importlib.util.find_spec, HEAVY)):
        assert not set(HEAVY) & set(sys.modules)


def test_a_snapshot_is_what_was_there_and_no_copy_where_buffers_are_given_away():
    model = classifier("keras", optimizer=keras.optimizers.Adam(0.1))
    model.fit(*samples(8), verbose=0)
    variables = [*model.trainable_variables, *model.optimizer.variables]
    taken, before = host_of(model).snapshot(variables), [np.array(variable) for variable in variables]
    model.fit(*samples(64), batch_size=4, verbose=0)
    for value, was, variable in zip(taken, before, variables, strict=True):
        np.testing.assert_array_equal(np.asarray(value), was)
        assert "rate" in variable.name or not np.array_equal(variable, was)
    if keras.backend.backend() == "jax":
        assert not any(value.flags.owndata for value in taken)


@only_light
def test_what_needs_them_says_so_at_the_first_use():
    model = classifier("keras")
    with pytest.raises(MissingPackageError, match=r"TFTrainer needs transformers, .*pip install 'transformers'\."):
        TFTrainer(model)
    names = "transformers, tensorflow and tf_keras, which are not installed"
    with pytest.raises(MissingPackageError, match=rf"from_pretrained needs {names}.*'tf_hfwb\[transformers\]'\."):
        from_pretrained(type(model), "bert-base-uncased")
    with pytest.raises(MissingPackageError, match=r"export_for_serving needs tensorflow, .*'tf_hfwb\[tensorflow\]'\."):
        export_for_serving(model, "served")
