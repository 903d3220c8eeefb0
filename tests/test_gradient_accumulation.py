"""gradient_accumulation_steps: several batches make one update, which is one step on every clock."""

from __future__ import annotations

import importlib
import json
import math
import os
import pathlib
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from helpers import KERASES, eval_rows, finish, history, nightly, python, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import training_batches
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import BatchGroups


def trainer_of(model, data, *, size=2, accumulate=1, optimizer=None, callbacks=(), evaluation=None, **options):
    """A trainer with batches of ``size``, without a run unless ``report_to`` says so."""
    defaults = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "learning_rate": 0.01}
    arguments = TFTrainingArguments(
        per_device_train_batch_size=size, gradient_accumulation_steps=accumulate, **{**defaults, **options}
    )
    return TFTrainer(
        model,
        arguments,
        train_dataset=data,
        eval_dataset=evaluation,
        callbacks=callbacks,
        optimizers=(optimizer, None),
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
    )


def weights_of(model) -> np.ndarray:
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])


def named(number: int):
    return tiny.named(samples(number))


# The update


MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "distilbert": (tiny.distilbert, tiny.classified),
    "t5": (tiny.t5, tiny.answered),
    "vit": (tiny.vit, tiny.pictures),
    "tf_keras": (lambda **options: tiny.functional("tf_keras", **options), named),
    "keras": (lambda **options: tiny.functional("keras", **options), named),
}


@pytest.mark.parametrize(
    ("name", "options", "compiled"),
    [
        nightly("bert", {"max_grad_norm": 0.0, "weight_decay": 0.1}, {}),
        nightly("tf_keras", {"max_grad_norm": 0.05, "weight_decay": 0.1, "warmup_steps": 2}, {}),
        ("keras", {"max_grad_norm": 0.05, "weight_decay": 0.1, "warmup_steps": 2}, {}),
        ("tf_keras", {"max_grad_norm": 0.05}, {"steps_per_execution": 2}),
        nightly("keras", {"max_grad_norm": 0.05}, {"steps_per_execution": 2}),
        nightly("tf_keras", {}, {"jit_compile": True}),
        nightly("keras", {}, {"jit_compile": True}),
        nightly("tf_keras", {}, {"run_eagerly": True}),
        nightly("keras", {}, {"run_eagerly": True}),
        nightly("vit", {"max_grad_norm": 0.0}, {}),
    ],
)
def test_the_update_is_that_of_a_larger_batch(name, options, compiled):
    make, data = MODELS[name]
    found = []
    for size, accumulate in ((8, 1), (2, 4)):
        model = make(**(compiled if accumulate > 1 else {}))
        begin = weights_of(model)
        trainer = trainer_of(model, data(24), size=size, accumulate=accumulate, num_train_epochs=3, **options)
        result = trainer.train()
        assert result.global_step == 9
        assert int(np.asarray(model.optimizer.iterations)) == 9
        assert result.metrics["train_samples_per_second"] * result.metrics["train_runtime"] == pytest.approx(
            72, rel=0.01
        )
        found.append((weights_of(model), result.training_loss))
    (larger, larger_loss), (accumulated, loss) = found
    assert np.abs(larger - begin).max() > 0.01
    # The gradient of an attention's key bias is nothing but rounding, which Adam makes a step of.
    np.testing.assert_allclose(accumulated, larger, rtol=1e-4, atol=5e-5 if name == "vit" else 1e-5)
    assert loss == pytest.approx(larger_loss, rel=1e-5)


def linear(kind: str):
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, use_bias=False)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def by_hand(weights, data, size, accumulate, epochs, rate):
    """Softmax regression in float64: weights after gradient descent, and the loss of each update."""
    weights, losses = weights.astype(np.float64), []
    stream = training_batches(data, size, seed=42)
    batches = iter(stream.dataset.as_numpy_iterator())
    for _ in range(epochs):
        epoch = [next(batches) for _ in range(stream.steps_per_epoch)]
        for first in range(0, len(epoch), accumulate):
            gradients, batch_losses = [], []
            for x, y in epoch[first : first + accumulate]:
                logits = x @ weights
                probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
                batch_losses.append(-np.log(probabilities[np.arange(len(y)), y]).mean())
                gradients.append(x.T @ (probabilities - np.eye(3)[y]) / len(y))
            weights = weights - rate * np.mean(gradients, axis=0)
            losses.append(np.mean(batch_losses))
    return weights, losses


@pytest.mark.parametrize("kind", KERASES)
def test_the_smaller_group_at_the_end_of_an_epoch_makes_an_update_too(kind):
    keras, data = importlib.import_module(kind), samples(11)  # 6 batches, of which the last is smaller.
    model = linear(kind)
    weights, losses = by_hand(weights_of(model).reshape(4, 3), data, 2, 4, epochs=3, rate=0.5)
    optimizer = keras.optimizers.SGD(0.5)
    trainer = trainer_of(
        model, data, accumulate=4, optimizer=optimizer, report_to="wandb", logging_steps=2, num_train_epochs=3
    )
    result = trainer.train()
    rows = train_rows(history(finish()))
    np.testing.assert_allclose(weights_of(model).reshape(4, 3), weights, rtol=1e-4, atol=1e-5)
    assert [row["train/global_step"] for row in rows] == [2, 4, 6]
    assert [row["train/epoch"] for row in rows] == [1, 2, 3]
    assert [row["train/loss"] for row in rows] == pytest.approx(np.reshape(losses, (3, 2)).mean(1).tolist(), rel=1e-5)
    assert result.training_loss == pytest.approx(np.mean(losses), rel=1e-5)
    for row in rows:  # 11 samples in 2 steps.
        assert row["train/samples_per_second"] / row["train/steps_per_second"] == pytest.approx(5.5)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_gradient_that_is_not_finite_skips_the_update_and_moves_the_loss_scale_once(kind):
    keras = importlib.import_module(kind)
    x, y = samples(16)
    batches = training_batches((np.arange(16.0), y), 2, seed=42)
    order = [int(n) for numbers, _ in batches.dataset.take(8).as_numpy_iterator() for n in numbers]
    x[order[2]] = np.nan  # In the second of the four batches of the first update.
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = tiny.functional(kind)
        begin, seen = weights_of(model), []

        class See(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                scale = getattr(self.model.optimizer, "loss_scale", None)
                scale = self.model.optimizer.dynamic_scale if scale is None else scale
                seen.append((np.abs(weights_of(self.model) - begin).max(), float(np.asarray(scale))))

        trainer_of(model, tiny.named((x, y)), accumulate=4, num_train_epochs=1, callbacks=[See()]).train()
        assert "LossScale" in type(model.optimizer).__name__
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert [(moved > 1e-3, scale) for moved, scale in seen] == [(False, 2.0**14), (True, 2.0**14)]


def test_tokens_of_a_causal_language_model_weigh_the_same_in_whatever_batch():
    """As ``num_items_in_batch`` of transformers' Trainer."""
    found = []
    for size, accumulate in ((4, 1), (1, 4)):
        model = tiny.gpt2()
        trainer = trainer_of(
            model, tiny.next_words(12), size=size, accumulate=accumulate, num_train_epochs=1, max_grad_norm=0.0
        )
        found.append((trainer.train().training_loss, weights_of(model)))
    (larger_loss, larger), (loss, accumulated) = found
    assert loss == pytest.approx(larger_loss, rel=1e-5)
    # AdamW makes a noticeable step of a gradient that is rounding alone.
    np.testing.assert_allclose(accumulated, larger, rtol=1e-4, atol=1e-4)


def mean_of_items(outputs, labels, num_items_in_batch=None):
    """The sum of the losses of all labels that are not -100, divided by their number, on every backend."""
    from keras import ops

    logits = outputs["logits"] if hasattr(outputs, "logits") else outputs
    logits = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
    labels = ops.cast(labels, "int32")
    chosen = ops.take_along_axis(logits, ops.expand_dims(ops.maximum(labels, 0), -1), axis=-1)[..., 0]
    return -ops.sum(chosen * ops.cast(labels != -100, "float32")) / num_items_in_batch


class DividesByItems(TFTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(inputs)
        loss = mean_of_items(outputs, labels, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def partly_labelled(number: int):
    """Of some batches of 2 most labels are -100, and of one all."""
    x, y = samples(number)
    return tiny.named((x, np.where((np.arange(number) % 3 == 0) | (np.arange(number) < 2), -100, y)))


def trained_by_items(kind, data, trainer=TFTrainer, loss=mean_of_items):
    """By updates of one batch, and of several: the losses and the weights."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    for size, accumulate in ((8, 1), (2, 4)):
        model = tiny.distilbert() if kind == "distilbert" else tiny.functional(kind)
        if kind != "distilbert":
            losses = importlib.import_module(kind).losses
            model.compile(loss=losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100))
        options = {"max_grad_norm": 0.0, "optim": "sgd", "learning_rate": 0.5, "max_steps": 3, "logging_steps": 1}
        arguments = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "full_determinism": True}
        made = trainer(
            model,
            TFTrainingArguments(
                per_device_train_batch_size=size // replicas,
                gradient_accumulation_steps=accumulate,
                **options,
                **arguments,
            ),
            train_dataset=data,
            compute_loss_func=loss,
            processing_class=tiny.tokenizer() if kind == "distilbert" else None,
        )
        made.train()
        yield [row["loss"] for row in made.state.log_history if "learning_rate" in row], weights_of(model)


def check_by_items(*args, **options):
    (losses, larger), (found, accumulated) = trained_by_items(*args, **options)
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    np.testing.assert_allclose(accumulated, larger, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras"), nightly("distilbert")])
def test_items_of_a_loss_function_weigh_the_same_in_whatever_batch(kind):
    """As in transformers' Trainer, whose ``num_items_in_batch`` counts the items of the whole update."""
    check_by_items(kind, tiny.tagged(24) if kind == "distilbert" else partly_labelled(24))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KERASES)
def test_items_of_an_override_that_divides_by_them(kind):
    check_by_items(kind, partly_labelled(24), DividesByItems, loss=None)


ITEMS = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from test_gradient_accumulation import partly_labelled, trained_by_items
found = [*trained_by_items(sys.argv[1], partly_labelled(24))]
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    found += trained_by_items(sys.argv[1], partly_labelled(24))
for losses, weights in found[1:]:
    np.testing.assert_allclose(losses, found[0][0], rtol=1e-5)
    np.testing.assert_allclose(weights, found[0][1], rtol=1e-4, atol=1e-5)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KERASES)
def test_items_weigh_the_same_on_all_replicas(launcher, kind):
    launcher.python(ITEMS, kind)


@pytest.mark.nightly
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_items_on_another_backend(backend):
    pytest.importorskip(backend)
    script = (
        "from test_gradient_accumulation import check_by_items, partly_labelled as d; check_by_items('keras', d(24))"
    )
    python("-c", script, KERAS_BACKEND=backend)


MIRRORED = """
import sys, numpy as np, tensorflow as tf, tiny
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
kind = sys.argv[1]
found = []
for strategy, size in ((tf.distribute.get_strategy(), 4), (tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 2)):
    with strategy.scope():
        model = tiny.bert() if kind == "bert" else tiny.functional(kind)
    data = tiny.classified(24) if kind == "bert" else tiny.named(samples(24))
    arguments = TFTrainingArguments(
        per_device_train_batch_size=size, gradient_accumulation_steps=4, num_train_epochs=2, learning_rate=0.01,
        max_grad_norm=0.05 if kind == "tf_keras" else 0.0, report_to="none", save_strategy="no", disable_tqdm=True,
    )
    tokenizer = tiny.tokenizer() if kind == "bert" else None
    result = TFTrainer(model, arguments, train_dataset=data, processing_class=tokenizer).train()
    weights = np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])
    samples_seen = result.metrics["train_samples_per_second"] * result.metrics["train_runtime"]
    found.append((weights, result.global_step, result.training_loss, round(samples_seen)))
np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
assert found[0][1] == found[1][1] == 4, found
np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-5)
assert abs(found[1][3] - 48) <= 1, found
"""


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [nightly("bert"), "tf_keras", nightly("keras")])
def test_replicas_add_up_their_own_batches(launcher, kind):
    launcher.python(MIRRORED, kind)


TOKENS = """
import numpy as np, tensorflow as tf, tiny
from tf_hfwb import TFTrainer, TFTrainingArguments
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rows = tiny.next_words(14)
# In a batch one replica gets few of the tokens, and in one batch none.
labels = [[-100] * len(ids) if place < 2 else ids if place % 4 < 2 else [*ids[:2], *[-100] * (len(ids) - 2)]
          for place, ids in enumerate(rows["input_ids"])]
rows = rows.remove_columns("labels").add_column("labels", labels)

def train(strategy, accumulate, **options):
    with strategy.scope():
        model = tiny.gpt2()
    arguments = TFTrainingArguments(
        per_device_train_batch_size=4 // strategy.num_replicas_in_sync, gradient_accumulation_steps=accumulate,
        max_steps=3, learning_rate=0.01, max_grad_norm=0.0, report_to="none",
        save_strategy="no", disable_tqdm=True, logging_steps=1, optim="sgd", **options,
    )
    trainer = TFTrainer(model, arguments, train_dataset=rows, processing_class=tiny.tokenizer())
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables]), losses

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for accumulate in (1, 2):
    weights, losses = train(tf.distribute.get_strategy(), accumulate)
    found, found_losses = train(two, accumulate)
    print(losses, found_losses, np.abs(weights - found).max())
    np.testing.assert_allclose(found_losses, losses, rtol=1e-5)
    np.testing.assert_allclose(found, weights, atol=1e-6)
    by_samples, their_losses = train(two, accumulate, average_tokens_across_devices=False)
    assert np.abs(by_samples - weights).max() > 1e-5, np.abs(by_samples - weights).max()
"""


@pytest.mark.nightly
def test_tokens_count_the_same_on_all_replicas(launcher):
    launcher.python(TOKENS)


# The steps


GRID = [
    # batches, accumulate, options
    (5, 2, {"num_train_epochs": 3}),
    (4, 2, {"num_train_epochs": 1.5}),
    (5, 2, {"num_train_epochs": 2.4}),
    (5, 2, {"max_steps": 4}),
    (3, 4, {"num_train_epochs": 2}),
    (7, 3, {"max_steps": 7}),
    (1, 8, {"max_steps": 3}),
    (6, 1, {"num_train_epochs": 2}),
]


@pytest.mark.parametrize("case", [nightly(0), nightly(1), 2, nightly(3), nightly(4), 5, nightly(6), nightly(7)])
def test_steps_rows_evaluations_and_checkpoints_are_those_of_transformers_trainer(case):
    batches, accumulate, options = GRID[case]
    kind = KERASES[case % 2]
    # The formulas of Trainer.set_initial_training_values.
    updates = max(batches // accumulate + int(batches % accumulate > 0), 1)
    max_steps = options.get("max_steps") or math.ceil(options["num_train_epochs"] * updates)
    epochs = [
        epoch + min((update + 1) * accumulate, batches) / batches
        for epoch in range(math.ceil(max_steps / updates))
        for update in range(updates)
    ][:max_steps]
    seen = []

    class Count(importlib.import_module(kind).callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

    trainer = trainer_of(
        tiny.functional(kind),
        named(2 * batches),
        accumulate=accumulate,
        callbacks=[Count()],
        evaluation=named(4),
        report_to="wandb",
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=3,
        output_dir="out",
        **options,
    )
    result = trainer.train()
    rows = history(finish())
    assert result.global_step == max_steps
    assert len(seen) == max_steps
    assert [row["train/global_step"] for row in train_rows(rows)] == list(range(1, max_steps + 1))
    assert [row["train/epoch"] for row in train_rows(rows)] == pytest.approx(epochs)
    assert [row["train/global_step"] for row in eval_rows(rows)] == list(range(2, max_steps + 1, 2))
    saved = sorted(int(path.name.partition("-")[2]) for path in pathlib.Path("out").glob("checkpoint-*"))
    assert saved == sorted({*range(3, max_steps + 1, 3), max_steps})
    rates = [row["train/learning_rate"] for row in train_rows(rows)]
    assert rates == pytest.approx([0.01 * (1 - step / max_steps) for step in range(max_steps)], rel=1e-5)


def test_groups():
    groups = BatchGroups(3, 7)
    assert [groups.batches_after(updates) for updates in range(4)] == [0, 3, 6, 7]
    assert [groups.updates_before(batch) for batch in (0, 3, 6)] == [0, 1, 2]
    # After groups of 2: the batches 4, 5 and 6 make the last update.
    assert groups.updates_before(4) == 2
    assert (BatchGroups(3).updates, BatchGroups(3).updates_before(7)) == (None, 3)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KERASES)
def test_data_of_unknown_length(kind, tmp_path):
    """The group at the end of a pass ends with it."""
    x, y = samples(10)

    def data():
        pairs = tf.data.Dataset.from_tensor_slices(({"x": x}, y)).filter(lambda x, y: True)
        return pairs.batch(2)

    options = {"accumulate": 2, "output_dir": tmp_path, "save_strategy": "steps", "save_steps": 1}
    model = tiny.functional(kind)
    assert trainer_of(model, data(), max_steps=5, **options).train().global_step == 5
    states = {
        step: json.loads((tmp_path / f"checkpoint-{step}/trainer_state.json").read_text()) for step in range(1, 6)
    }
    assert {
        step: tuple(state["position"][key] for key in ("epoch", "batch", "batches")) for step, state in states.items()
    } == {
        1: (0, 2, 2),
        2: (0, 4, 4),
        3: (0, 5, 5),  # Nobody has noticed yet that the data has ended.
        4: (1, 2, 7),
        5: (1, 4, 9),
    }
    resumed = tiny.functional(kind)
    trainer_of(resumed, data(), max_steps=5, **options).train(tmp_path / "checkpoint-2")
    # Its graph is another one, as the batches were counted, and rounds in another order.
    np.testing.assert_allclose(weights_of(resumed), weights_of(model), rtol=1e-6)
    endless = tiny.functional(kind)
    assert trainer_of(endless, data().repeat(), max_steps=5, accumulate=3).train().global_step == 5


# Resuming


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras"), nightly("bert")])
def test_resuming_in_the_middle_of_an_epoch_changes_nothing(kind, tmp_path):
    def make():
        if kind == "bert":
            return tiny.bert(hidden_dropout_prob=0.2)
        return tiny.functional(kind, dropout=0.2)

    data = tiny.classified(11) if kind == "bert" else named(11)
    options = {"accumulate": 4, "num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1, "logging_steps": 2}
    whole, resumed = make(), make()
    trainer_of(whole, data, output_dir=tmp_path / "whole", report_to="wandb", **options).train()
    state = json.loads((tmp_path / "whole/checkpoint-3/trainer_state.json").read_text())
    assert state["position"] == {"step": 3, "epoch": 1, "batch": 4, "batches": 10}
    assert state["epoch"] == pytest.approx(1 + 4 / 6)
    trainer = trainer_of(resumed, data, output_dir=tmp_path / "resumed", report_to="wandb", **options)
    assert trainer.train(tmp_path / "whole/checkpoint-3").global_step == 6
    np.testing.assert_array_equal(weights_of(resumed), weights_of(whole))
    rows, later = rows_in(tmp_path / "whole/checkpoint-6"), rows_in(tmp_path / "resumed/checkpoint-6")
    assert [row["train/global_step"] for row in rows] == [2, 4, 6]
    assert later == rows


def rows_in(checkpoint: pathlib.Path) -> list[dict]:
    """The rows so far, without what depends on the time."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [{name: value for name, value in row.items() if "per_second" not in name} for row in history]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_groups_of_another_size_begin_where_the_checkpoint_ends(kind, tmp_path):
    options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 1, "output_dir": tmp_path}
    trainer_of(tiny.functional(kind), named(14), accumulate=2, **options).train()  # 7 batches: 4 steps an epoch.
    batches = []

    class Count(importlib.import_module(kind).callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append(batch)

    model = tiny.functional(kind)
    trainer = trainer_of(model, named(14), accumulate=3, callbacks=[Count()], **options)
    result = trainer.train(tmp_path / "checkpoint-2")  # After 4 batches: 3 are left, and 7 in the second epoch.
    assert result.global_step == 6
    assert result.metrics["train_samples_per_second"] * result.metrics["train_runtime"] == pytest.approx(20, rel=0.01)


class Killed(tf_keras.Sequential):
    """Sends a signal to its process while a certain batch is trained on."""

    batches = 0
    killed_at = 0

    def train_step(self, data):
        tf.py_function(self._count, [], [])
        return super().train_step(data)

    def _count(self) -> None:
        type(self).batches += 1
        if self.batches == self.killed_at:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_in_the_middle_of_a_group_waits_for_its_end(tmp_path, real_signals):
    def make(killed_at: int):
        tf_keras.utils.set_random_seed(0)
        Killed.batches, Killed.killed_at = 0, killed_at
        layers = [tf_keras.layers.Input((4,)), tf_keras.layers.Dropout(0.2), tf_keras.layers.Dense(3)]
        model = Killed(layers)
        model.compile(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    options = {"accumulate": 3, "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 100}
    whole = make(killed_at=0)
    trainer_of(whole, samples(14), output_dir=tmp_path / "whole", **options).train()  # 7 batches: 3 steps an epoch.
    with pytest.raises(SystemExit, match="143"):
        trainer_of(make(killed_at=9), samples(14), output_dir=tmp_path / "killed", **options).train()
    state = json.loads((tmp_path / "killed/checkpoint-4/trainer_state.json").read_text())
    assert state["position"] == {"step": 4, "epoch": 1, "batch": 3, "batches": 10}
    resumed = make(killed_at=0)
    trainer_of(resumed, samples(14), output_dir=tmp_path / "killed", **options).train(True)
    np.testing.assert_array_equal(weights_of(resumed), weights_of(whole))


# Everything else is as it was


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_fit_after_the_training_does_not_accumulate(kind):
    model = tiny.functional(kind)
    optimizer = importlib.import_module(kind).optimizers.SGD(0.01)
    trainer_of(model, named(8), accumulate=4, max_steps=1, optimizer=optimizer).train()
    x, y = named(8)
    model.fit(x, y, batch_size=2, verbose=0)
    assert int(np.asarray(model.optimizer.iterations)) == 1 + 4
    result = trainer_of(model, named(8), accumulate=2, num_train_epochs=1, optimizer=optimizer).train(False)
    assert result.global_step == 2


def test_on_keras_3_the_optimizer_may_still_accumulate_itself_but_not_both():
    keras = importlib.import_module("keras")
    model = tiny.functional("keras")
    optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)
    assert trainer_of(model, named(8), optimizer=optimizer, num_train_epochs=1).train().global_step == 2
    with pytest.raises(SettingError, match=r"gradient_accumulation_steps=4 .*itself accumulates over 2 batches"):
        trainer_of(model, named(8), optimizer=optimizer, accumulate=4, num_train_epochs=1).train()
    # It is not the optimizer that trains here.
    assert trainer_of(model, named(8), accumulate=4, num_train_epochs=1).train(False).global_step == 1


class AppliesTwice(tf_keras.Sequential):
    def train_step(self, data):
        super().train_step(data)
        return super().train_step(data)


class AppliesByItself(tf_keras.Sequential):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compiled_loss(y, self(x, training=True))
        for gradient, weight in zip(
            tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True
        ):
            weight.assign_sub(0.1 * gradient)
        return {"loss": loss}


class HasTwoOptimizers(tf_keras.Sequential):
    def __init__(self, layers):
        super().__init__(layers)
        self.another = tf_keras.optimizers.SGD()


@pytest.mark.parametrize(
    ("model_class", "message"),
    [
        (AppliesTwice, r"several updates of a batch"),
        (AppliesByItself, r"does not hand gradients to model\.optimizer"),
        (HasTwoOptimizers, r"has further optimizers \(another\)"),
    ],
)
def test_models_that_cannot_accumulate_are_refused(model_class, message):
    model = model_class([tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3)])
    model.compile(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(SettingError, match=rf"gradient_accumulation_steps=2 .*{message}"):
        trainer_of(model, samples(8), accumulate=2, num_train_epochs=1).train()


@pytest.mark.parametrize("value", [0, -1, 1.5, "4"])
def test_values(value):
    with pytest.raises(SettingError, match=r"gradient_accumulation_steps=.*a number of batches, 1 or more"):
        TFTrainingArguments(gradient_accumulation_steps=value)


JAX = """
import json, pathlib, sys
import numpy as np, keras
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments
assert keras.backend.backend() == "jax"

def make(*more, **options):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,)), keras.layers.Dense(8, activation="tanh"), *more, keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], **options)
    return model

def train(model, data, size, accumulate, resume=None, **options):
    arguments = TFTrainingArguments(
        per_device_train_batch_size=size, gradient_accumulation_steps=accumulate, learning_rate=0.01,
        report_to="none", disable_tqdm=True, **{"save_strategy": "no", **options})
    return TFTrainer(model, arguments, train_dataset=data).train(resume)

def weights(model):
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])
larger, small = make(), make()
one = train(larger, samples(24), 8, 1, num_train_epochs=2, max_grad_norm=0.05)
other = train(small, samples(24), 2, 4, num_train_epochs=2, max_grad_norm=0.05)
assert one.global_step == other.global_step == 6
np.testing.assert_allclose(weights(small), weights(larger), rtol=1e-4, atol=1e-5)
np.testing.assert_allclose(one.training_loss, other.training_loss, rtol=1e-5)

normalized = lambda **options: make(keras.layers.BatchNormalization(), keras.layers.Dropout(0.2), **options)
whole, resumed = normalized(), normalized()
options = dict(num_train_epochs=3, save_strategy="steps", save_steps=1, output_dir="out")
assert train(whole, samples(11), 2, 4, **options).global_step == 6
state = json.loads(pathlib.Path("out/checkpoint-3/trainer_state.json").read_text())
assert state["position"] == {"step": 3, "epoch": 1, "batch": 4, "batches": 10}, state["position"]
train(resumed, samples(11), 2, 4, resume="out/checkpoint-3", **options)
np.testing.assert_array_equal(weights(resumed), weights(whole))

eager, traced = make(run_eagerly=True), make(steps_per_execution=2)
for model in (eager, traced):
    assert train(model, samples(11), 2, 4, num_train_epochs=3).global_step == 6
np.testing.assert_allclose(weights(eager), weights(traced), rtol=1e-4, atol=1e-5)

keras.mixed_precision.set_global_policy("mixed_float16")
x, y = samples(16)
x[0] = np.nan
mixed = make()
train(mixed, (x, y), 2, 4, num_train_epochs=1)
assert int(mixed.optimizer.iterations) == 1  # Of two updates.
assert float(mixed.optimizer.dynamic_scale) == 2.0**14
assert np.isfinite(weights(mixed)).all()
print("jax")
"""


@pytest.mark.nightly
def test_on_jax(tmp_path):
    pytest.importorskip("jax")
    assert python("-c", JAX, KERAS_BACKEND="jax").stdout.split()[-1] == "jax"
