"""What callbacks, evaluations and train steps put into the logs: one name, in rows, checkpoints and early stopping."""

from __future__ import annotations

import importlib
import json
import pathlib

import numpy as np
import pytest
import tiny
from helpers import classifier, finish, history, nightly, records, samples

from tf_hfwb import (
    EarlyStopping,
    TFTrainer,
    TFTrainingArguments,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    restore,
    training_batches,
    wandb_callbacks,
)

STEP = "train/global_step"


def adding(kind: str, **metrics):
    """A callback that puts values into the logs of each epoch, a sequence's one by one."""

    class Adding(importlib.import_module(kind).callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs.update({name: values[epoch] for name, values in metrics.items()})

    return Adding()


def found(rows: list[dict], name: str) -> dict[int, float]:
    """The values of a metric by their steps, each of which has one."""
    pairs = [(row[STEP], row[name]) for row in rows if name in row]
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def facts_of(directory) -> dict:
    return json.loads(pathlib.Path(directory, "trainer_state.json").read_text())


def summary(directory) -> dict:
    updates = [record["summary"]["update"] for record in records(directory) if record["type"] == "summary"]
    return {name: value for update in updates for name, value in update.items()}


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize("log_freq", ["epoch", nightly(3)])
def test_what_callbacks_add_is_logged_once_wherever_they_stand(kind, log_freq, caplog):
    x, y = samples(20)
    front = adding(kind, val_a=[0.1, 0.2, 0.3], b=[1, 2, 3], confusion=np.zeros((3, 2, 2)))
    behind = adding(kind, val_c=[0.4, 0.6, 0.5], d=[np.array([4.0]), 6, 5])
    last = adding(kind, val_e=[7, 8, 9])
    checkpoints, stopping = WandbModelCheckpoint("out", monitor="d"), EarlyStopping("val_c", patience=2)
    callbacks = [front, WandbMetricsLogger(log_freq), behind, stopping, checkpoints, last]
    classifier(kind).fit(x, y, 4, epochs=3, validation_data=(x, y), verbose=0, callbacks=callbacks)
    directory = finish()
    rows = history(directory)
    assert found(rows, "eval/a") == {5: 0.1, 10: 0.2, 15: 0.3}
    assert found(rows, "eval/b") == {5: 1, 10: 2, 15: 3}
    assert found(rows, "eval/c") == {5: 0.4, 10: 0.6, 15: 0.5}
    assert found(rows, "eval/d") == {5: 4, 10: 6, 15: 5}
    assert found(rows, "eval/e") == {5: 7, 10: 8, 15: 9}
    assert list(found(rows, "eval/loss")) == [5, 10, 15]
    names = {name for row in rows for name in row}
    assert {name for name in names if name.startswith("train/") and not name.endswith("_per_second")} == {
        *("train/loss", "train/accuracy", "train/learning_rate", "train/epoch", STEP)
    }
    best = {name: value for name, value in summary(directory).items() if name.startswith("best/")}
    assert (best["best/eval/d"], best["best/eval/d_step"]) == (6, 10)
    assert all(name.startswith("best/eval/") for name in best)
    state = facts_of("out/checkpoint-10")
    assert (state["metrics"]["eval/d"], state["metrics"]["eval/c"], checkpoints.best) == (6, 0.6, 6)
    assert (state["monitor"], state["best_step"], stopping.best_step) == ("eval/d", 10, 10)
    assert [row["eval/d"] for row in state["log_history"] if "eval/d" in row] == [4, 6]
    (said,) = [record.getMessage() for record in caplog.records if record.name == "tf_hfwb"]
    assert said.startswith("The metric eval/confusion is an array of the shape (2, 2), and so in no row of the run.")


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_added_metrics_of_a_training_that_goes_on(kind, caplog):
    keras = importlib.import_module(kind)
    x, y = tiny.named(samples(20))
    for start, epochs in ((0, 2), (5, 3)):
        model = tiny.functional(kind, optimizer=keras.optimizers.SGD(0.1))
        position = restore(model, f"out/checkpoint-{start}").batches if start else 0
        data = training_batches((x, y), 4, model=model, start_step=position).dataset
        f1 = adding(kind, f1=[0.1, 0.5, 0.3])
        callbacks = wandb_callbacks("out", callbacks=[f1], log_freq=2, monitor="f1")
        model.fit(data, steps_per_epoch=5, epochs=epochs, verbose=0, callbacks=callbacks)
        assert callbacks[-1].best == 0.5
    assert found(history(finish()), "eval/f1") == {5: 0.1, 10: 0.5, 15: 0.3}
    rows = facts_of("out/checkpoint-15")["log_history"]
    assert found(rows, "eval/f1") == {5: 0.1, 10: 0.5, 15: 0.3}
    assert not [record for record in caplog.records if record.name == "tf_hfwb"]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_added_metrics_beside_evaluations_of_the_trainer(kind, strategy, caplog):
    data = tiny.named(samples(20))
    f1 = adding(kind, val_f1=[0.1, 0.5, 0.4, 0.3, 0.2])
    stopping = EarlyStopping("val_f1", patience=2)
    options = {"eval_strategy": strategy, "eval_steps": 2, "save_strategy": "epoch", "logging_steps": 3}
    options |= {"metric_for_best_model": "f1"}
    args = TFTrainingArguments("out", num_train_epochs=5, per_device_train_batch_size=4, disable_tqdm=True, **options)
    trainer = TFTrainer(tiny.functional(kind), args, train_dataset=data, eval_dataset=data, callbacks=[stopping, f1])
    output = trainer.train()
    directory = finish()
    rows = history(directory)
    assert found(rows, "eval/f1") == {5: 0.1, 10: 0.5, 15: 0.4, 20: 0.3}
    assert list(found(rows, "eval/loss")) == {"steps": [*range(2, 21, 2)], "epoch": [5, 10, 15, 20]}[strategy]
    assert (output.global_step, stopping.stopped_step, stopping.best_step) == (20, 20, 10)
    assert facts_of("out/checkpoint-10")["metrics"]["eval/f1"] == facts_of("out/checkpoint-20")["best_metric"] == 0.5
    assert ("eval/loss" in facts_of("out/checkpoint-15")["metrics"]) is (strategy == "epoch")  # Else it is step 14's.
    assert not [record for record in caplog.records if record.name == "tf_hfwb"]
    said = summary(directory)
    for name in ("train_runtime", "train_steps_per_second", "train_samples_per_second", "train_loss"):
        assert said[name] == output.metrics[name]


@pytest.mark.nightly
def test_the_metrics_of_keras_metric_callback():
    from transformers import KerasMetricCallback

    data = tiny.tokenizer()(tiny.TEXTS, return_token_type_ids=False, padding="max_length", return_tensors="np")
    labels = np.arange(len(tiny.TEXTS)) % 3
    tf = importlib.import_module("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((dict(data), labels)).batch(4)
    seen = []

    def rouge(predictions_and_labels):
        seen.append(len(predictions_and_labels[1]))
        return {"rouge1": np.float64(len(seen)), "rougeL": 0.25}

    model = tiny.bert()
    model.compile(importlib.import_module("tf_keras").optimizers.SGD(0.1))
    metric = KerasMetricCallback(rouge, dataset)
    model.fit(dataset, epochs=2, verbose=0, callbacks=wandb_callbacks("out", callbacks=[metric], monitor="rouge1"))
    directory = finish()
    assert seen == [11, 11]
    assert found(history(directory), "eval/rouge1") == {3: 1, 6: 2}
    assert found(history(directory), "eval/rougeL") == {3: 0.25, 6: 0.25}
    assert summary(directory)["best/eval/rouge1_step"] == 6
    assert facts_of("out/checkpoint-6")["best_metric"] == 2


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_compiled_metrics_with_any_name_are_of_training_and_of_evaluation(kind):
    keras = importlib.import_module(kind)
    x, y = samples(20)
    names = ["acc/top1", "test_acc", "val_acc", "eval/acc"]
    metrics = [keras.metrics.SparseCategoricalAccuracy(name=name) for name in names]
    model = classifier(kind, learning_rate=0.1, metrics=metrics)
    checkpoints = WandbModelCheckpoint("out", monitor="test_acc")
    stopping = EarlyStopping("val_test_acc", patience=5)
    callbacks = [WandbMetricsLogger(2), stopping, checkpoints]
    fit = model.fit(x, y, 4, epochs=2, validation_data=(x, y), verbose=0, callbacks=callbacks)
    logger = WandbMetricsLogger()
    alone = model.evaluate(x, y, verbose=0, callbacks=[logger], return_dict=True)
    directory = finish()
    rows = history(directory)
    for name in names:
        assert list(found(rows, f"train/{name}")) == [2, 4, 6, 8, 10]
        evaluated = [row[f"eval/{name}"] for row in rows if f"eval/{name}" in row]
        assert evaluated == pytest.approx([*fit.history[f"val_{name}"], alone[name]])
        assert summary(directory)[f"best/eval/{name}"] == pytest.approx(max(evaluated))
    known = {f"{room}/{name}" for room in ("train", "eval") for name in names}
    strange = {name for row in rows for name in row if "acc" in name} - known
    assert not strange
    assert [row["train/epoch"] for row in rows if "eval/loss" in row] == [1, 2, 2]  # Another logger knows it too.
    assert facts_of("out/checkpoint-10")["metrics"]["train/test_acc"] == checkpoints.best
    assert checkpoints.best == pytest.approx(max(fit.history["test_acc"]))
    assert stopping.best == pytest.approx(max(fit.history["val_test_acc"]))


def test_a_logger_that_does_not_know_the_epoch_does_not_say_it():
    x, y = samples(20)
    model = classifier("keras")
    model.evaluate(x, y, verbose=0, callbacks=[WandbMetricsLogger()])
    model.fit(x, y, 4, verbose=0)
    model.evaluate(x, y, verbose=0, callbacks=[WandbMetricsLogger()])
    rows = history(finish())
    assert [(row[STEP], row.get("train/epoch")) for row in rows] == [(0, 0), (5, None)]


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_an_array_of_one_element_is_its_number(kind, caplog):
    keras = importlib.import_module(kind)
    x, _ = samples(20)
    y = (x[:, :1] > 0).astype("float32")
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy", metrics=[keras.metrics.F1Score(threshold=0.5)])
    stopping, checkpoints = EarlyStopping("val_f1_score", patience=2), WandbModelCheckpoint("out", monitor="f1_score")
    fit = model.fit(
        x, y, 4, epochs=9, validation_data=(x, y), verbose=0, callbacks=[WandbMetricsLogger(2), stopping, checkpoints]
    )
    expected = float(np.ravel(fit.history["val_f1_score"][0])[0])
    rows = history(finish())
    assert found(rows, "eval/f1_score") == pytest.approx({5: expected, 10: expected, 15: expected})
    assert list(found(rows, "train/f1_score")) == [*range(2, 15, 2), 15]
    assert (stopping.stopped_step, stopping.best) == (15, pytest.approx(expected))
    assert (checkpoints.best, checkpoints.best_checkpoint.name) == (pytest.approx(expected), "checkpoint-5")
    assert not [record for record in caplog.records if record.name == "tf_hfwb"]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_what_is_no_number_is_told_of_once(kind, caplog):
    keras = importlib.import_module(kind)

    class Reporting(keras.Sequential):
        def train_step(self, data):
            return {**super().train_step(data), "each": 2 * self.layers[-1].bias}

    x, y = samples(20)
    model = Reporting([keras.layers.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stopping, checkpoints = EarlyStopping("each"), WandbModelCheckpoint("out", monitor="each")
    model.fit(x, y, 4, epochs=2, verbose=0, callbacks=[WandbMetricsLogger(1), stopping, checkpoints])
    rows = history(finish())
    assert [row[STEP] for row in rows] == [*range(1, 11)]
    assert not any("train/each" in row for row in rows)
    said = sorted(record.getMessage() for record in caplog.records if record.name == "tf_hfwb")
    assert len(said) == 3, said
    assert said[0].startswith("EarlyStopping monitors 'each', which is an array of the shape (3,). Expected one number")
    assert said[1].startswith("The metric train/each is an array of the shape (3,), and so in no row")
    assert said[2].startswith("train/each is an array of the shape (3,) at step 5. Which checkpoint is the best is not")
