"""WandbMetricsLogger on both Kerases: the right rows, at the right steps, with the right numbers."""

from __future__ import annotations

import importlib
import itertools
import math

import numpy as np
import pytest
from helpers import KERASES, classifier, eval_rows, finish, history, losses_by_hand, needs, nightly, samples, train_rows

from tf_hfwb import EarlyStopping, WandbMetricsLogger, WandbModelCheckpoint
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import SettingError

pytestmark = pytest.mark.core

on_both = pytest.mark.parametrize("kind", KERASES)
on_keras_3 = pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])

STEP = "train/global_step"


def logged(model, x, y, *loggers, **options) -> list[dict]:
    """The rows of a fit in order of the samples."""
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "callbacks": list(loggers), **options}
    model.fit(x, y, **options)
    return history(finish())


def assert_interval_losses(rows: list[dict], losses: np.ndarray) -> None:
    """Every row's loss is the mean of the steps since the row before."""
    previous = 0
    for row in train_rows(rows):
        expected = losses[previous : row[STEP]].mean()
        assert row["train/loss"] == pytest.approx(expected, rel=1e-5), row[STEP]
        previous = row[STEP]


@pytest.mark.parametrize(
    ("kind", "steps_per_execution"),
    [("keras", 1), ("keras", 7), ("tf_keras", 4), nightly("keras", 4), nightly("tf_keras", 1), nightly("tf_keras", 7)],
)
def test_rows_fall_on_the_first_boundary_and_carry_the_true_step(kind, steps_per_execution):
    x, y = samples(74)  # 19 steps an epoch, the last one of two samples
    model = classifier(kind, steps_per_execution=steps_per_execution)
    losses = np.tile(losses_by_hand(model, x, y, 4), 3)
    rows = logged(model, x, y, WandbMetricsLogger(5), epochs=3)
    boundaries = []
    for epoch in range(3):
        ends = [*range(steps_per_execution, 19, steps_per_execution), 19]
        boundaries += [19 * epoch + end for end in ends]
    due = [b for a, b in zip([0, *boundaries], boundaries, strict=False) if b // 5 > a // 5]
    assert [row[STEP] for row in train_rows(rows)] == ([*due, 57] if due[-1] != 57 else due)
    assert_interval_losses(rows, losses)
    for row in train_rows(rows):
        assert row["train/epoch"] == pytest.approx(row[STEP] / 19)


@needs("tf_keras")
def test_rows_and_checkpoints_carry_the_true_step_while_keras_tunes_steps_per_execution():
    import tf_keras

    x, y = samples(150)  # 38 steps an epoch
    model = classifier("tf_keras", steps_per_execution="auto")
    losses = np.tile(losses_by_hand(model, x, y, 4), 2)
    true_steps = []

    class Tuner(tf_keras.callbacks.Callback):
        """Does what Keras's tuner does on a thread of its own."""

        def on_train_batch_end(self, batch, logs=None):
            true_steps.append(int(model.optimizer.iterations))
            if true_steps[-1] < 60:
                model._steps_per_execution.assign(1 + true_steps[-1] // 8)

    rows = logged(model, x, y, Tuner(), WandbMetricsLogger(5), WandbModelCheckpoint("out", save_freq=15), epochs=2)
    assert true_steps[-1] == 76
    assert max(np.diff(true_steps)) > 3
    due = [after for before, after in itertools.pairwise([0, *true_steps]) if after // 5 > before // 5]
    assert [row[STEP] for row in train_rows(rows)] == (due if due[-1] == 76 else [*due, 76])
    assert_interval_losses(rows, losses)
    saved = [after for before, after in itertools.pairwise([0, *true_steps]) if after // 15 > before // 15]
    assert [checkpoint.step for checkpoint in Store("out").checkpoints()] == (
        saved if saved[-1] == 76 else [*saved, 76]
    )


@on_both
@pytest.mark.nightly
def test_the_loss_of_step_5000_is_that_step_s(kind):
    x, y = samples(2 * 5003)
    model = classifier(kind, metrics=())
    losses = losses_by_hand(model, x, y, 2)
    rows = train_rows(logged(model, x, y, WandbMetricsLogger("batch"), batch_size=2))
    assert [row[STEP] for row in rows] == list(range(1, 5004))
    np.testing.assert_allclose([row["train/loss"] for row in rows], losses, rtol=1e-4)


@on_both
def test_a_step_that_reports_no_loss_has_the_rate_all_the_same(kind):
    keras = importlib.import_module(kind)

    class Silent(keras.Sequential):
        def train_step(self, *args):
            zeros = [np.zeros(weight.shape, "float32") for weight in self.trainable_variables]
            if len(args) == 1:
                self.optimizer.apply_gradients(zip(zeros, self.trainable_variables, strict=True))
                return {"own": 1.0}
            trained, others, slots, metrics = args[0]  # On JAX.
            trained, slots = self.optimizer.stateless_apply(slots, zeros, trained)
            return {"own": 1.0}, (trained, others, slots, metrics)

    model = Silent([keras.layers.Input((4,)), keras.layers.Dense(3)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    rows = [row for row in logged(model, *samples(20), WandbMetricsLogger(2)) if "train/own" in row]
    assert [row[STEP] for row in rows] == [2, 4, 5]
    np.testing.assert_allclose([row["train/learning_rate"] for row in rows], [0.1] * 3, rtol=1e-6)


@on_both
@needs("tensorflow")
def test_nested_logs_of_a_step_are_in_each_row(kind, caplog):
    keras = importlib.import_module(kind)

    class Nested(keras.Sequential):
        def train_step(self, data):
            logs = super().train_step(data)
            return {"loss": logs["loss"], "parts": {"half": logs["loss"] / 2, "inner": {"double": 2 * logs["loss"]}}}

    model = Nested([keras.layers.Input((4,)), keras.layers.Dense(3)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rows = train_rows(logged(model, *samples(20), WandbMetricsLogger(2), EarlyStopping("half")))
    assert [row[STEP] for row in rows] == [2, 4, 5]
    for row in rows:
        assert row["train/double"] == pytest.approx(4 * row["train/half"])
    assert [record.getMessage() for record in caplog.records if record.name == "tf_hfwb"] == []


@pytest.mark.parametrize("kind", KERASES)
def test_a_loop_of_the_user_s_is_followed_as_a_fit_is(kind):
    keras = importlib.import_module(kind)
    x, y = samples(20)

    def loop(model, callbacks):
        everyone = keras.callbacks.CallbackList(callbacks, model=model, epochs=2, steps=5)
        everyone.on_train_begin()
        for epoch in range(2):
            everyone.on_epoch_begin(epoch)
            for batch in range(5):
                part = slice(4 * batch, 4 * batch + 4)
                everyone.on_train_batch_begin(batch)
                logs = model.train_on_batch(x[part], y[part], return_dict=True)
                everyone.on_train_batch_end(batch, logs)
            everyone.on_epoch_end(epoch, logs)
        everyone.on_train_end()
        model.train_on_batch(x, y)  # Nobody follows it any more.

    def fit(model, callbacks):
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)

    found = []
    for train in (loop, fit):
        train(classifier(kind, learning_rate=0.1), [WandbMetricsLogger(2), WandbModelCheckpoint("out", save_freq=3)])
        rows = train_rows(history(finish()))
        steps = [checkpoint.step for checkpoint in Store("out").checkpoints()]
        found.append(([(row[STEP], row["train/epoch"], row["train/loss"]) for row in rows], steps))
    assert found[0] == found[1]
    assert [row[0] for row in found[0][0]] == [2, 4, 6, 8, 10]
    assert found[0][1] == [3, 6, 9, 10]


@on_keras_3
def test_training_agrees_with_a_loop_written_by_hand(kind):
    keras = importlib.import_module(kind)
    x, y = samples(80)
    by_hand = classifier(kind, optimizer=keras.optimizers.Adam(0.05), metrics=())
    losses = []
    for _ in range(2):
        for i in range(0, 80, 8):
            losses.append(float(loss_of(by_hand, x[i : i + 8], y[i : i + 8])))
            by_hand.train_on_batch(x[i : i + 8], y[i : i + 8])
    model = classifier(kind, optimizer=keras.optimizers.Adam(0.05))
    rows = logged(model, x, y, WandbMetricsLogger(3), batch_size=8, epochs=2)
    assert [row[STEP] for row in train_rows(rows)] == [3, 6, 9, 12, 15, 18, 20]
    for row, start in zip(train_rows(rows), [0, 3, 6, 9, 12, 15, 18], strict=True):
        assert row["train/loss"] == pytest.approx(np.mean(losses[start : row[STEP]]), rel=1e-4)


def loss_of(model, x, y):
    return losses_by_hand(model, x, y, len(x))[0]


@on_keras_3
def test_epoch_rows(kind):
    x, y = samples(30)
    model = classifier(kind)
    losses = losses_by_hand(model, x, y, 4)
    rows = train_rows(logged(model, x, y, WandbMetricsLogger(), epochs=2))
    assert [(row[STEP], row["train/epoch"]) for row in rows] == [(8, 1), (16, 2)]
    assert rows[1]["train/loss"] == pytest.approx(losses.mean(), rel=1e-5)


@on_keras_3
def test_first_step_on_request_and_the_last_always(kind):
    x, y = samples(28)
    rows = train_rows(logged(classifier(kind), x, y, WandbMetricsLogger(4, log_first_step=True)))
    assert [row[STEP] for row in rows] == [1, 4, 7]


@on_keras_3
def test_validation_is_logged_at_the_step_of_the_epochs_end(kind):
    x, y = samples(20)
    model = classifier(kind)
    rows = logged(model, x, y, WandbMetricsLogger(2), epochs=2, validation_data=(x, y), validation_batch_size=8)
    expected = losses_by_hand(model, x, y, 20)[0]
    assert [(row[STEP], row["train/epoch"]) for row in eval_rows(rows)] == [(5, 1), (10, 2)]
    for row in eval_rows(rows):
        assert row["eval/loss"] == pytest.approx(expected, rel=1e-5)
        assert row["eval/samples_per_second"] * row["eval/runtime"] == pytest.approx(20)
        assert row["eval/steps_per_second"] * row["eval/runtime"] == pytest.approx(3)
    assert_interval_losses(rows, np.tile(losses_by_hand(model, x, y, 4), 2))


@on_keras_3
def test_evaluation_outside_a_fit_carries_the_step_of_the_training(kind):
    x, y = samples(20)
    model, logger = classifier(kind), WandbMetricsLogger()
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[logger])
    model.evaluate(x, y, verbose=0, callbacks=[logger])
    row = history(finish())[-1]
    assert row[STEP] == 5
    assert row["eval/accuracy"] == pytest.approx(model.evaluate(x, y, verbose=0)[1])


@on_keras_3
def test_evaluation_alone_opens_a_run(kind):
    x, y = samples(8)
    classifier(kind).evaluate(x, y, verbose=0, callbacks=[WandbMetricsLogger()])
    assert history(finish())[0][STEP] == 0


@on_both
@needs("tensorflow", "tf_keras")
def test_rows_are_preferably_written_while_a_step_is_executed(kind):
    keras, logger, found = importlib.import_module(kind), WandbMetricsLogger(1), []

    def loss(labels, outputs):
        found.append(("in a step", logger.tracker.jobs.rows.is_good_moment()))
        return keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)

    class Between(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            found.append(("between", logger.tracker.jobs.rows.is_good_moment()))

    model = classifier(kind)
    model.compile("sgd", loss=loss, run_eagerly=True)
    x, y = samples(12)
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[logger, Between()])
    assert found == 3 * [("between", False), ("in a step", True)]


@on_keras_3
def test_a_second_fit_goes_on_where_the_first_ended(kind):
    x, y = samples(20)
    model, logger = classifier(kind), WandbMetricsLogger("batch")
    model.fit(x, y, batch_size=4, verbose=0, epochs=1, callbacks=[logger])
    model.fit(x, y, batch_size=4, verbose=0, epochs=2, initial_epoch=1, callbacks=[logger])
    rows = train_rows(history(finish()))
    assert [row[STEP] for row in rows] == list(range(1, 11))
    assert rows[-1]["train/epoch"] == 2


@on_keras_3
def test_compiling_anew_does_not_turn_the_clock_back(kind):
    keras = importlib.import_module(kind)
    x, y = samples(12)
    model = classifier(kind)
    model.fit(x, y, batch_size=4, verbose=0, shuffle=False, callbacks=[WandbMetricsLogger("batch")])
    model.compile(keras.optimizers.SGD(0.0), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=4, verbose=0, shuffle=False, callbacks=[WandbMetricsLogger("batch")])
    rows = train_rows(history(finish()))
    assert [row[STEP] for row in rows] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([row["train/loss"] for row in rows[3:]], losses_by_hand(model, x, y, 4), rtol=1e-5)


@on_both
def test_another_optimizer_is_used_and_later_functions_report_what_keras_does(kind):
    x, y = samples(8)
    model, logger = classifier(kind, learning_rate=0.1), WandbMetricsLogger("batch")
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[logger])
    assert model.train_step.recorder.hands_out_rates
    before = model.get_weights()
    model.optimizer = type(model.optimizer)(0.1, clipvalue=1e-9)  # With variables like those of the one before.
    model.train_function = None
    reported = model.fit(x, y, batch_size=4, verbose=0, callbacks=[logger]).history
    np.testing.assert_allclose(model.get_weights()[0], before[0], atol=1e-6)
    model.train_function = None
    assert set(model.fit(x, y, batch_size=4, verbose=0).history) == set(reported) == {"loss", "accuracy"}
    finish()


@on_keras_3
def test_a_fit_without_the_logger_in_between_is_not_in_its_interval(kind):
    x, y = samples(12)
    model, logger = classifier(kind), WandbMetricsLogger("batch")
    model.fit(x, y, batch_size=4, verbose=0, shuffle=False)
    model.fit(x, y, batch_size=4, verbose=0, shuffle=False, callbacks=[logger])
    rows = train_rows(history(finish()))
    assert [row[STEP] for row in rows] == [4, 5, 6]
    np.testing.assert_allclose([row["train/loss"] for row in rows], losses_by_hand(model, x, y, 4), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "steps_per_execution"),
    [("keras", 1), ("keras", 3), ("tf_keras", 4), nightly("keras", 4), nightly("tf_keras", 1), nightly("tf_keras", 3)],
)
def test_a_row_at_every_execution(kind, steps_per_execution):
    x, y = samples(74)  # 19 steps an epoch
    model = classifier(kind, steps_per_execution=steps_per_execution)
    losses = np.tile(losses_by_hand(model, x, y, 4), 2)
    rows = logged(model, x, y, WandbMetricsLogger("batch"), epochs=2)
    ends = [*range(steps_per_execution, 19, steps_per_execution), 19]
    assert [row[STEP] for row in train_rows(rows)] == [*ends, *(19 + end for end in ends)]
    assert_interval_losses(rows, losses)
    for row in train_rows(rows):
        assert row["train/epoch"] == pytest.approx(row[STEP] / 19)


@on_keras_3
def test_a_row_at_every_step_until_training_is_stopped_and_evaluations_among_them(kind):
    x, y = samples(80)
    model, logger = classifier(kind), WandbMetricsLogger("batch")

    class Stopping(importlib.import_module(kind).callbacks.Callback):
        seen = 0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += 1
            if self.seen % 3 == 0:
                logger.log_evaluation({"eval_seen": self.seen})
            self.model.stop_training = self.seen == 10

    rows = logged(model, x, y, logger, callbacks=[Stopping(), logger], epochs=2)
    steps = [(row[STEP], row.get("eval/seen")) for row in rows if STEP in row]
    expected = [(step, None) for step in range(1, 11)] + [(step, step) for step in (3, 6, 9)]
    assert sorted(steps, key=str) == sorted(expected, key=str)
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)
    assert_interval_losses(rows, losses_by_hand(model, x, y, 4))


@on_keras_3
def test_rows_before_an_exception_are_there(kind):
    x, y = samples(80)
    model, logger = classifier(kind), WandbMetricsLogger("batch")

    class Failing(importlib.import_module(kind).callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 9:
                raise RuntimeError("as planned")

    with pytest.raises(RuntimeError, match="as planned"):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[Failing(), logger])
    logger.tracker.flush()
    assert [row[STEP] for row in train_rows(history(finish()))] in (list(range(1, 10)), list(range(1, 11)))


@pytest.mark.parametrize(("kind", "steps_per_execution"), [("tf_keras", 1), ("keras", 4), nightly("keras", 1)])
@needs("tensorflow", "tf_keras")
def test_generator_of_unknown_length(kind, steps_per_execution):
    x, y = samples(30)
    model = classifier(kind, steps_per_execution=steps_per_execution)
    tf = importlib.import_module("tensorflow")
    dataset = tf.data.Dataset.from_generator(
        lambda: ((x[i : i + 3], y[i : i + 3]) for i in range(0, 30, 3)),
        output_signature=(tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int64)),
    )
    losses = np.tile(losses_by_hand(model, x, y, 3), 2)
    model.fit(dataset, epochs=2, verbose=0, callbacks=[WandbMetricsLogger(4)])
    rows = train_rows(history(finish()))
    steps = [4, 8, 12, 16, 20] if steps_per_execution == 1 else [4, 8, 14, 18, 20]
    assert [row[STEP] for row in rows] == steps
    assert rows[-1]["train/epoch"] == 2
    assert_interval_losses(rows, losses)


@on_keras_3
def test_python_generator(kind):
    x, y = samples(12)
    model = classifier(kind)
    batches = ((x[i % 12 : i % 12 + 4], y[i % 12 : i % 12 + 4]) for i in range(0, 10**6, 4))
    model.fit(batches, steps_per_epoch=5, epochs=2, verbose=0, callbacks=[WandbMetricsLogger(4)])
    rows = train_rows(history(finish()))
    assert [row[STEP] for row in rows] == [4, 8, 10]
    assert_interval_losses(rows, np.tile(losses_by_hand(model, x, y, 4), 4))


@on_keras_3
def test_class_and_sample_weights(kind):
    x, y = samples(24)
    model = classifier(kind)
    weights = np.linspace(0.1, 3.0, 24).astype("float32")
    rows = logged(model, x, y, WandbMetricsLogger("batch"), sample_weight=weights)
    assert_interval_losses(rows, losses_by_hand(model, x, y, 4, weights))
    by_class = {0: 0.5, 1: 2.0, 2: 7.0}
    model = classifier(kind)
    rows = logged(model, x, y, WandbMetricsLogger("batch"), class_weight=by_class)
    losses = losses_by_hand(model, x, y, 4, np.array([by_class[label] for label in y]))
    np.testing.assert_allclose([row["train/loss"] for row in train_rows(rows)], losses, rtol=1e-5)


@on_both
def test_several_outputs_and_regularisation(kind):
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    x, _ = samples(16)
    inputs = keras.Input((4,))
    a = keras.layers.Dense(1, name="a", kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
    b = keras.layers.Dense(1, name="b")(inputs)
    model = keras.Model(inputs, {"a": a, "b": b})
    model.compile(keras.optimizers.SGD(0.0), loss={"a": "mse", "b": "mae"}, loss_weights={"a": 1.0, "b": 3.0})
    targets = {"a": x[:, :1], "b": x[:, 1:2]}
    rows = logged(model, x, targets, WandbMetricsLogger("batch"))
    predicted = model.predict(x, verbose=0)
    penalty = 0.1 * np.sum(np.square(model.get_layer("a").get_weights()[0]))
    for row, i in zip(train_rows(rows), range(0, 16, 4), strict=True):
        mse = np.mean(np.square(predicted["a"][i : i + 4] - x[i : i + 4, :1]))
        mae = np.mean(np.abs(predicted["b"][i : i + 4] - x[i : i + 4, 1:2]))
        assert row["train/loss"] == pytest.approx(mse + 3 * mae + penalty, rel=1e-5)
        assert {"train/a_loss", "train/b_loss"} <= set(row)


@on_both
@needs("tensorflow", "tf_keras")
def test_nan_and_infinity_stay_in_their_own_rows(kind):
    tf = importlib.import_module("tensorflow")

    def loss(wanted, predicted):
        """The loss that the label says, with a gradient of zero, so that the weights stay finite."""
        return tf.squeeze(tf.cast(wanted, tf.float32), -1) + 0.0 * tf.reduce_sum(predicted, axis=-1)

    model = classifier(kind)
    model.compile("sgd", loss=loss)
    losses = [1.0, 2.0, 3.0, math.nan, 5.0, math.inf, 7.0, 8.0, -math.inf, 10.0, math.inf, -math.inf, 13.0]
    x = np.zeros((13, 4), "float32")
    rows = train_rows(logged(model, x, np.array(losses, "float32")[:, None], WandbMetricsLogger(2), batch_size=1))
    np.testing.assert_array_equal(
        [row["train/loss"] for row in rows], [1.5, math.nan, math.inf, 7.5, -math.inf, math.nan, 13.0]
    )


@on_keras_3
def test_evaluation_inside_the_epoch_does_not_touch_the_interval(kind):
    keras = importlib.import_module(kind)
    x, y = samples(40)
    model = classifier(kind)

    class Evaluate(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch in (3, 7):
                self.model.evaluate(x[:5], y[:5], verbose=0)

    losses = losses_by_hand(model, x, y, 4)
    assert_interval_losses(logged(model, x, y, Evaluate(), WandbMetricsLogger(2)), losses)


@on_both
@needs("tensorflow", "tf_keras")
def test_custom_train_steps(kind):
    keras = importlib.import_module(kind)
    tf = importlib.import_module("tensorflow")

    class Reporting(keras.Model):
        """Reports the loss of the step itself, without a tracker."""

        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    x, _ = samples(16)
    model = Reporting()
    model.compile(keras.optimizers.SGD(0.0))
    rows = train_rows(logged(model, x, x[:, :1], WandbMetricsLogger(2)))
    errors = np.square(model.predict(x, verbose=0) - x[:, :1]).reshape(2, 8).mean(axis=1)
    np.testing.assert_allclose([row["train/loss"] for row in rows], errors, rtol=1e-5)


@on_keras_3
def test_run_eagerly(kind):
    x, y = samples(12)
    model = classifier(kind, run_eagerly=True)
    assert_interval_losses(logged(model, x, y, WandbMetricsLogger("batch")), losses_by_hand(model, x, y, 4))


@on_keras_3
def test_learning_rates(kind):
    keras = importlib.import_module(kind)
    x, y = samples(24)
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 10, end_learning_rate=0.0)
    rows = train_rows(logged(classifier(kind, optimizer=keras.optimizers.Adam(schedule)), x, y, WandbMetricsLogger(2)))
    np.testing.assert_allclose([row["train/learning_rate"] for row in rows], [0.09, 0.07, 0.05], rtol=1e-5)

    def halved(epoch, rate):
        return rate / 2

    model = classifier(kind, learning_rate=0.4)
    logger, scheduler = WandbMetricsLogger("batch"), keras.callbacks.LearningRateScheduler(halved)
    model.fit(x, y, batch_size=12, epochs=2, verbose=0, callbacks=[scheduler, logger])
    rows = train_rows(history(finish()))
    np.testing.assert_allclose([row["train/learning_rate"] for row in rows], [0.2, 0.2, 0.1, 0.1], rtol=1e-6)


@on_keras_3
@needs("tensorflow", "tf_keras")
def test_both_kerases_in_one_process_with_one_class(kind):
    x, y = samples(12)
    for name in KERASES if kind == "keras" else KERASES[::-1]:
        model = classifier(name)
        rows = train_rows(logged(model, x, y, WandbMetricsLogger("batch")))
        np.testing.assert_allclose([row["train/loss"] for row in rows], losses_by_hand(model, x, y, 4), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "steps_per_execution"), [("keras", 1), ("tf_keras", 4), nightly("keras", 4), nightly("tf_keras", 1)]
)
def test_mixed_precision(kind, steps_per_execution):
    keras = importlib.import_module(kind)
    x, y = samples(44)
    scaled = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.0))
    model = classifier(kind, optimizer=scaled, steps_per_execution=steps_per_execution)
    rows = logged(model, x, y, WandbMetricsLogger(4), epochs=2)
    assert [row[STEP] for row in train_rows(rows)][-1] == 22
    assert_interval_losses(rows, np.tile(losses_by_hand(model, x, y, 4), 2))


@on_keras_3
def test_stopping_early_writes_the_last_step(kind):
    keras = importlib.import_module(kind)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.stop_training = True

    x, y = samples(40)
    rows = train_rows(logged(classifier(kind), x, y, WandbMetricsLogger(2), Stop(), epochs=3))
    assert [row[STEP] for row in rows] == [2, 3]
    assert rows[-1]["train/epoch"] == pytest.approx(0.3)


@on_keras_3
def test_initial_global_step(kind):
    x, y = samples(12)
    rows = train_rows(logged(classifier(kind), x, y, WandbMetricsLogger("batch", initial_global_step=100)))
    assert [row[STEP] for row in rows] == [101, 102, 103]


@on_keras_3
def test_saved_models_do_not_contain_the_recorder(kind, tmp_path):
    keras = importlib.import_module(kind)
    x, y = samples(12)
    model = classifier(kind, learning_rate=0.1)
    logged(model, x, y, WandbMetricsLogger("batch"))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert (tmp_path / "model.keras").stat().st_size < 40_000
    loaded.fit(x, y, verbose=0)


@on_keras_3
@pytest.mark.parametrize("value", ["step", 0, -3, 2.5, None, True])
def test_bad_log_freq_fails_in_the_constructor(kind, value):
    with pytest.raises(SettingError, match=r"log_freq=.* cannot be used. Expected 'epoch', 'batch'"):
        WandbMetricsLogger(value)


@on_keras_3
def test_gradient_accumulation_counts_optimizer_steps(kind):
    if kind == "tf_keras":
        pytest.skip("tf_keras's optimizers do not accumulate")
    keras = importlib.import_module(kind)
    x, y = samples(52)  # 13 batches an epoch
    schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 100, end_learning_rate=0.0)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=3)
    model = classifier(kind, optimizer=optimizer)
    losses = np.tile(losses_by_hand(model, x, y, 4), 2)
    rows = train_rows(logged(model, x, y, WandbMetricsLogger(2), epochs=2))
    assert [row[STEP] for row in rows] == [2, 4, 6, 8]
    batches = [0, 6, 12, 18, 24]
    for row, (begin, end) in zip(rows, itertools.pairwise(batches), strict=True):
        assert row["train/loss"] == pytest.approx(losses[begin:end].mean(), rel=1e-5)
        assert row["train/epoch"] == pytest.approx(end / 13)


@on_keras_3
def test_skipped_updates_are_no_steps(kind):
    """Keras 3's loss scaling skips updates with infinite gradients; tf_keras counts them."""
    if kind == "tf_keras":
        pytest.skip("tf_keras counts a skipped update as a step")
    keras = importlib.import_module(kind)
    x, y = samples(40)
    weights = np.ones(40, "float32")
    weights[8:16] = np.inf  # Batches 3 and 4.
    scaled = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.0))
    rows = train_rows(logged(classifier(kind, optimizer=scaled), x, y, WandbMetricsLogger(2), sample_weight=weights))
    assert [row[STEP] for row in rows] == [2, 4, 6, 8]
    assert [row["train/epoch"] for row in rows] == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert [math.isfinite(row["train/loss"]) for row in rows] == [True, False, True, True]


@on_both
@needs("tensorflow", "tf_keras")
def test_two_updates_in_one_train_step_are_two_steps(kind):
    keras = importlib.import_module(kind)

    class Twice(keras.Sequential):
        def train_step(self, data):
            super().train_step(data)
            return super().train_step(data)

    x, y = samples(40)
    model = Twice([keras.layers.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rows = train_rows(logged(model, x, y, WandbMetricsLogger(5)))
    assert [row[STEP] for row in rows] == [6, 10, 16, 20]
