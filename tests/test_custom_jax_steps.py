"""Models with a ``train_step`` of their own on JAX, where only the variables of the model's metrics live in a step."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import finish, history, nightly, samples, train_rows

from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, restore

keras = pytest.importorskip("keras")
pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="steps of Keras 3 on JAX"),
]
X, Y = samples(14)
TARGETS = Y[:, None].astype("float32")


class LossTracker(keras.metrics.Mean):
    """Resets all that it has, as Keras's base class does."""

    def __init__(self):
        super().__init__("loss")

    def reset_state(self):
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape, "float32"))


class Custom(keras.Model):
    """As in Keras's guide to ``fit`` on JAX: metrics of its own, and each of them updated by itself."""

    def __init__(self, *args, kind="tracked", **kwargs):
        super().__init__(*args, **kwargs)
        self.kind = kind
        self.tracker = LossTracker()
        self.error = keras.metrics.MeanAbsoluteError(name="mae")

    @property
    def metrics(self):
        return {"tracked": [self.tracker, self.error], "reported": [self.error], "none": []}[self.kind]

    def error_of(self, trained, others, x, y):
        outputs, others = self.stateless_call(trained, others, x, training=True)
        return keras.ops.mean(keras.ops.square(y - outputs)), (outputs, others)

    def train_step(self, state, data):
        import jax

        trained, others, of_optimizer, metrics = state
        x, y = data[:2]
        grad = jax.value_and_grad(self.error_of, has_aux=True)
        (loss, (outputs, others)), gradients = grad(trained, others, x, y)
        trained, of_optimizer = self.optimizer.stateless_apply(of_optimizer, gradients, trained)
        logs = {"loss": loss} if self.kind != "tracked" else {}
        updated = []
        for metric in self.metrics:
            mine, metrics = metrics[: len(metric.variables)], metrics[len(metric.variables) :]
            values = (loss,) if metric is self.tracker else (y, outputs)
            mine = metric.stateless_update_state(mine, *values)
            logs[metric.name] = metric.stateless_result(mine)
            updated += mine
        return logs, (trained, others, of_optimizer, updated)


def custom(kind="tracked"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dropout(0.3)(keras.layers.Dense(4, activation="relu")(inputs))
    model = Custom(inputs, keras.layers.Dense(1)(hidden), kind=kind)
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, *callbacks, epochs=2, **options):
    return model.fit(X, TARGETS, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **options)


def losses_of_rows():
    return [row["train/loss"] for row in train_rows(history())]


def values_of(model):
    return [np.asarray(one.value) for one in [*model.variables, *model.optimizer.variables]]


def epoch_means(losses):
    return np.reshape(losses, (-1, 4)).mean(axis=1)


@pytest.mark.parametrize("kind", ["tracked", nightly("reported")])
def test_losses_of_a_step_with_metrics_of_its_own_are_those_of_each_step(kind, tmp_path):
    plain = fit(custom(kind))
    model = custom(kind)
    saver = WandbModelCheckpoint(tmp_path / "whole", save_freq=3, log_model="false")
    assert fit(model, WandbMetricsLogger("batch"), saver).history == plain.history
    model.compile(model.optimizer)  # The metrics stay the same, and so do their variables.
    number = len(model.metrics_variables)
    fit(model, WandbMetricsLogger("batch"), epochs=1)
    assert len(model.metrics_variables) == number
    finish()
    losses = losses_of_rows()
    assert len(losses) == 12
    if kind == "tracked":
        np.testing.assert_allclose(epoch_means(losses)[:2], plain.history["loss"], rtol=1e-6)
    else:  # What is reported is the loss of the last step.
        np.testing.assert_allclose(losses[3:8:4], plain.history["loss"], rtol=1e-6)


def test_such_a_model_resumes_bit_for_bit(tmp_path):
    whole, resumed = custom(), custom()
    expected = fit(whole, WandbModelCheckpoint(tmp_path / "whole", save_freq=3, log_model="false"))
    restore(resumed, tmp_path / "whole" / "checkpoint-6")
    history = fit(resumed, WandbModelCheckpoint(tmp_path / "resumed", save_freq=3, log_model="false"))
    assert history.history == {name: values[1:] for name, values in expected.history.items()}
    for one, other in zip(values_of(whole), values_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_without_metrics_trains_without_losses_of_steps(tmp_path):
    plain, model = custom("none"), custom("none")
    expected = fit(plain)
    saver = WandbModelCheckpoint(tmp_path, save_freq=3, log_model="false")
    assert fit(model, WandbMetricsLogger(2), saver).history == expected.history
    finish()
    assert {path.name for path in tmp_path.glob("checkpoint-*")} >= {"checkpoint-3", "checkpoint-8"}
