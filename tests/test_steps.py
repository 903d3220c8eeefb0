"""The global step, where an update is not a batch, and what recording the steps leaves of the model."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import KERASES, classifier, finish, history, needs, nightly, samples, train_rows

from tf_hfwb import EarlyStopping, WandbMetricsLogger, WandbModelCheckpoint, WandbWatch, restore
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.trainer.training_length import whole_steps

pytestmark = pytest.mark.keras3

STEP = "train/global_step"


def steps_of(rows) -> list[int]:
    return [row[STEP] for row in rows]


def fit_and_look(model, *data, save_freq=2, **options):
    """The steps of rows and of checkpoints, and the rates of the rows."""
    callbacks = [WandbMetricsLogger(2), WandbModelCheckpoint("out", save_freq=save_freq)]
    model.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks, **options)
    rows = train_rows(history(finish()))
    return steps_of(rows), [c.step for c in Store("out").checkpoints()], [row["train/learning_rate"] for row in rows]


def accumulating(kind: str, updates_from: int = 0, **options):
    """Updates after each fourth batch by hand; before ``updates_from`` batches after each."""
    keras = importlib.import_module(kind)

    class Accumulating(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            variables = self.trainable_variables
            for total, gradient in zip(self.totals, tape.gradient(loss, variables), strict=True):
                total.assign_add(gradient)
            self.seen.assign_add(1)

            def update():
                self.optimizer.apply_gradients(
                    [(t.read_value(), v) for t, v in zip(self.totals, variables, strict=True)]
                )
                for total in self.totals:
                    total.assign(tf.zeros_like(total))
                return True

            tf.cond((self.seen % 4 == 0) | (self.seen <= updates_from), update, lambda: False)
            return {"loss": loss}

    model = Accumulating([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.totals = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in model.trainable_variables]
    model.seen = tf.Variable(0, trainable=False)
    model.compile(keras.optimizers.SGD(0.01), "mse", **options)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize("spe", [1, nightly(3)])
def test_accumulated_by_hand(kind, spe):
    x, y = samples(96)
    rows, saved, _ = fit_and_look(accumulating(kind, steps_per_execution=spe), x, y[:, None].astype("float32"))
    assert rows == saved == [2, 4, 6]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_step_of_ones_own_that_changes_its_mind(kind):
    """After 8 batches it accumulates: updates are made at 1 to 8, 12, 16, 20, 24."""
    x, y = samples(96)
    rows, saved, _ = fit_and_look(accumulating(kind, updates_from=8), x, y[:, None].astype("float32"))
    assert rows == saved == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_several_optimizers(kind, caplog):
    """As keras.io's examples have them; what ``compile`` makes is never used."""
    keras = importlib.import_module(kind)

    class GAN(keras.Model):
        def __init__(self):
            super().__init__()
            self.discriminator, self.generator = keras.layers.Dense(1), keras.layers.Dense(4)
            self.discriminator.build((None, 4))
            self.generator.build((None, 2))
            self.tracker = keras.metrics.Mean(name="loss")

        def call(self, x):
            return self.discriminator(x)

        def compile(self, d_optimizer, g_optimizer):
            super().compile()
            self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

        @property
        def metrics(self):
            return [self.tracker]

        def train_step(self, data):
            x = data[0] if isinstance(data, tuple) else data
            for _ in range(3):
                self.improve(self.d_optimizer, self.discriminator, x)
            self.tracker.update_state(self.improve(self.g_optimizer, self.generator, x[:, :2]))
            return {"loss": self.tracker.result()}

        def improve(self, optimizer, layer, x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(layer(x) ** 2)
            weights = layer.trainable_weights
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            return loss

    model = GAN()
    model.build((None, 4))
    model.compile(keras.optimizers.Adam(3e-3), keras.optimizers.Adam(2e-3))
    rows, saved, rates = fit_and_look(model, samples(40)[0], save_freq=4)
    assert (rows, saved) == ([2, 4, 6, 8, 10], [4, 8, 10])
    assert rates == pytest.approx([2e-3] * 5)
    assert "several optimizers (d_optimizer, g_optimizer)" in caplog.text
    assert caplog.text.count("its steps are the updates of g_optimizer") == 1


@needs("tf_keras")
@pytest.mark.parametrize(
    "optimizer", [tf.compat.v1.train.AdamOptimizer, nightly(tf.compat.v1.train.GradientDescentOptimizer)]
)
def test_optimizers_of_tensorflow_1(optimizer):
    x, y = samples(20)
    kept = []
    for stop in (None, 8):
        model = classifier("tf_keras", optimizer=optimizer(0.01))
        if stop:
            restore(model, f"out/checkpoint-{stop}")
        callbacks = [
            WandbMetricsLogger(2),
            WandbWatch("all", log_freq=2),
            EarlyStopping("loss", patience=9),
            WandbModelCheckpoint("again" if stop else "out", save_freq=4),
        ]
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        rows = train_rows(history(finish()))
        assert steps_of(rows) == ([] if stop else [2, 4, 6, 8, 10])  # The same run goes on, and has them.
        assert stop or rows[-1]["train/learning_rate"] == pytest.approx(0.01)
        kept.append(model.get_weights())
    assert all(map(np.array_equal, *kept))


@pytest.mark.parametrize("kind", [nightly("tf_keras"), "keras"])
def test_an_optimizer_that_does_not_count(kind):
    keras = importlib.import_module(kind)

    class Own(keras.optimizers.SGD):
        def apply_gradients(self, grads_and_vars, **_):
            for gradient, variable in grads_and_vars:
                variable.assign_sub(0.01 * gradient)

        def apply(self, grads, trainable_variables=None):
            self.apply_gradients(zip(grads, trainable_variables, strict=True))

    rows, saved, _ = fit_and_look(classifier(kind, optimizer=Own(0.1)), *samples(24), save_freq=4, epochs=2)
    assert (rows, saved) == ([2, 4, 6, 8, 10, 12], [4, 8, 12])  # Batches.


def test_keras_3_has_no_more_variables_with_us():
    counts = []
    for callbacks in ([], [WandbMetricsLogger(2)]):
        model = classifier("keras")
        model.fit(*samples(8), batch_size=4, verbose=0, callbacks=callbacks)
        counts.append((len(model.metrics_variables), len(model.variables), len(model.optimizer.variables)))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("kind", KERASES)
def test_training_on_a_batch_in_the_middle_of_a_fit_and_behind_one_that_failed(kind):
    keras = importlib.import_module(kind)

    class Trains(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise ArithmeticError
            self.model.train_on_batch(*samples(4))

    model = classifier(kind)
    with pytest.raises(ArithmeticError):
        model.fit(*samples(16), batch_size=4, epochs=3, verbose=0, callbacks=[WandbMetricsLogger(2), Trains()])
    for _ in range(4):
        model.train_on_batch(*samples(4))  # Not of that fit any more.
    assert steps_of(train_rows(history(finish()))) == [2, 4, 6, 8, 10]


def test_batches_that_are_left_over_are_not_planned(caplog):
    assert whole_steps(31, 5) == 6
    assert "The last 1 of 31 batches make no update" in caplog.text
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps=5 .*Expected 4 at most"):
        whole_steps(4, 5)


def compile_anew(model):
    model.compile("sgd", model.loss)


def set_optimizer(model):
    model.optimizer = type(model.optimizer)(0.01)
    model.make_train_function(force=True)


def fit_bare(model):
    model.fit(*samples(16), batch_size=4, verbose=0)


def train_on_batches(model):
    for _ in range(4):
        model.train_on_batch(*samples(4))


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize(
    ("calls", "first"),
    [
        nightly((compile_anew,), 11),
        nightly((train_on_batches,), 15),
        ((fit_bare, compile_anew), 11),  # What the optimizer of before has counted is gone with it.
        nightly((compile_anew, fit_bare), 15),
        ((compile_anew, train_on_batches), 15),
        ((set_optimizer, fit_bare), 15),
    ],
    ids=lambda value: " ".join(call.__name__ for call in value) if isinstance(value, tuple) else "",
)
def test_updates_without_callbacks(kind, calls, first):
    model = classifier(kind)
    model.fit(*samples(40), batch_size=4, verbose=0, callbacks=[WandbMetricsLogger(1)])
    for call in calls:
        call(model)
    model.fit(*samples(8), batch_size=4, verbose=0, callbacks=[WandbMetricsLogger(1)])
    assert steps_of(train_rows(history(finish()))) == [*range(1, 11), first, first + 1]


def test_training_eagerly_on_a_batch_of_arrays_after_a_fit():
    model = classifier("keras", run_eagerly=True)
    model.fit(*samples(8), batch_size=4, verbose=0, callbacks=[WandbMetricsLogger(1)])
    model.train_on_batch(*samples(4))


def test_updates_without_callbacks_that_complete_an_accumulation():
    optimizer = importlib.import_module("keras").optimizers.SGD(0.01, gradient_accumulation_steps=4)
    model = classifier("keras", optimizer=optimizer)
    model.fit(*samples(40), batch_size=4, verbose=0, callbacks=[WandbMetricsLogger(1)])  # 10 batches: 2 updates.
    model.fit(*samples(8), batch_size=4, verbose=0)  # The third.
    model.fit(*samples(16), batch_size=4, verbose=0, callbacks=[WandbMetricsLogger(1)])
    assert steps_of(train_rows(history(finish()))) == [1, 2, 4]
