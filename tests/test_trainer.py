"""TFTrainer: real models of each architecture, the steps it logs and evaluates at, and what it refuses."""

from __future__ import annotations

import importlib
import itertools
import json
import pathlib

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
import wandb
from helpers import KERASES, eval_rows, finish, history, losses_by_hand, nightly, python, records, samples, train_rows
from safetensors.numpy import load_file
from transformers.trainer_utils import EvalPrediction

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import training_batches
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.keras_compat import NotAKerasModelError

STEP = "train/global_step"


def trainer_of(model, data=None, *, optimizers=(None, None), callbacks=(), compute_metrics=None, **options):
    """A trainer with small batches, without a run unless ``report_to`` says so; evaluated on ``data`` too."""
    defaults = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "report_to": "none"}
    defaults |= {"disable_tqdm": True}
    train, evaluation = data if isinstance(data, list) else (data, data)
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
        optimizers=optimizers,
    )


def named(number: int = 11):
    return tiny.named(samples(number))


def steps_of(rows: list[dict]) -> list[int]:
    return [row[STEP] for row in rows]


def weights_of(model) -> np.ndarray:
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    kept = prediction.label_ids != -100
    return {"right": np.mean(np.argmax(logits, axis=-1)[kept] == prediction.label_ids[kept])}


# Every architecture

MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "distilbert": (tiny.distilbert, tiny.tagged),
    "gpt2": (tiny.gpt2, tiny.next_words),
    "t5": (tiny.t5, tiny.answered),
    "vit": (tiny.vit, tiny.pictures),
    "tf_keras": (lambda: tiny.functional("tf_keras"), named),
    "keras": (lambda: tiny.functional("keras"), named),
}


@pytest.mark.parametrize("name", [name if name in ("bert", "vit", "keras") else nightly(name) for name in MODELS])
def test_train_evaluate_predict_and_save(name, tmp_path):
    make, data = MODELS[name]
    model = make()
    trainer = trainer_of(model, data(), compute_metrics=accuracy, max_steps=7, learning_rate=0.01)
    before = trainer.evaluate()
    result = trainer.train()
    after = trainer.evaluate()
    assert result.global_step == 7
    assert after["eval_loss"] < before["eval_loss"]
    assert result.metrics["train_samples_per_second"] == pytest.approx(26 / result.metrics["train_runtime"], rel=0.01)

    test = trainer.predict(data(), metric_key_prefix="test")
    same = {name.replace("test_", "eval_"): value for name, value in test.metrics.items()}
    for metric in ("eval_loss", "eval_right"):
        assert same[metric] == pytest.approx(after[metric])
    assert {*same, "epoch"} == set(after)  # As with the Trainer, a prediction has no epoch.
    assert after["eval_right"] == pytest.approx(accuracy(EvalPrediction(test.predictions, test.label_ids))["right"])

    trainer.save_model(tmp_path)
    if name in KERASES:
        loaded = importlib.import_module(name).models.load_model(tmp_path / "model.keras")
    else:
        loaded = type(model).from_pretrained(tmp_path)
        assert transformers.AutoTokenizer.from_pretrained(tmp_path)("the cats")["input_ids"] == [2, 5, 7, 22, 3]
    again = trainer_of(loaded, data()).predict(data())
    np.testing.assert_allclose(again.predictions[0], test.predictions[0], rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "training_args.json").read_text())["max_steps"] == 7


def test_sequential_models():
    model = tf_keras.Sequential([tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3)])
    model.compile(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trainer = trainer_of(model, samples(11), num_train_epochs=1)
    losses = losses_by_hand(model, *samples(11), 11)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert trainer.train().global_step == 3


@pytest.mark.nightly
def test_compiled_loss_and_metrics_stay_and_the_optimizer_is_replaced():
    model = tiny.bert()
    model.compile("sgd", metrics=["accuracy"])
    trainer = trainer_of(model, tiny.classified(), max_steps=4, logging_steps=2, report_to="wandb")
    trainer.train()
    metrics = trainer.evaluate()
    test = trainer.predict(tiny.classified())
    expected = np.mean(np.argmax(test.predictions, axis=-1) == test.label_ids)
    assert metrics["eval_accuracy"] == test.metrics["test_accuracy"] == pytest.approx(expected)
    assert model.optimizer.name == "AdamW"
    rows = history(finish())
    assert all("train/accuracy" in row for row in train_rows(rows))
    assert eval_rows(rows)[0]["eval/accuracy"] == pytest.approx(expected)


def test_reports_that_are_switched_off_after_construction_are_not_made():
    trainer = trainer_of(tiny.functional("tf_keras"), named(), max_steps=2, logging_steps=1, report_to="wandb")
    trainer.args.report_to = ["none"]
    trainer.train()
    assert wandb.run is None


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_float16_models_train_with_loss_scaling(kind):
    keras = importlib.import_module(kind)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = tiny.functional(kind)
        assert trainer_of(model, named(), max_steps=2).train().global_step == 2
        assert "LossScale" in type(model.optimizer).__name__
    finally:
        keras.mixed_precision.set_global_policy("float32")


# The loss and the steps of a training


def bare_losses(model, data, **options) -> list[float]:
    """The loss of each batch that the trainer will train on, while the weights stay as they are."""
    batches = training_batches(data, 4, model=model, processing_class=tiny.tokenizer(), seed=42, **options).dataset
    return [float(tf.reduce_mean(model({**inputs, "labels": labels}).loss)) for inputs, labels in batches]


@pytest.mark.parametrize("name", [nightly("bert"), "gpt2"])
def test_losses_are_means_over_steps(name):
    """Also where an epoch ends with a smaller batch, and where the training ends in the middle of an epoch."""
    make, data = MODELS[name]
    model = make()
    losses = bare_losses(model, data(), num_epochs=3)
    trainer = trainer_of(model, data(), learning_rate=0.0, max_steps=8, logging_steps=3, report_to="wandb")
    result = trainer.train()
    assert result.training_loss == result.metrics["train_loss"] == pytest.approx(np.mean(losses[:8]), rel=1e-5)
    rows = train_rows(history(finish()))
    assert steps_of(rows) == [3, 6, 8]
    expected = [np.mean(losses[:3]), np.mean(losses[3:6]), np.mean(losses[6:8])]
    np.testing.assert_allclose([row["train/loss"] for row in rows], expected, rtol=1e-5)


@pytest.mark.nightly
def test_the_mean_loss_of_a_long_training():
    """Longer than what the step recorder keeps."""
    x, y = samples(2501)
    model = tiny.functional("tf_keras")
    logits = np.asarray(model.predict({"x": x}, verbose=0), np.float64)
    each = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(2501), y]
    result = trainer_of(
        model, tiny.named((x, y)), learning_rate=0.0, num_train_epochs=1, per_device_train_batch_size=1
    ).train()
    assert result.global_step == 2501
    assert result.training_loss == pytest.approx(each.mean(), rel=1e-4)


# 11 samples in batches of 4: 3 steps an epoch.
@pytest.mark.parametrize(
    ("kind", "options", "steps", "last"),
    [
        nightly("tf_keras", {"max_steps": 2, "logging_steps": 1}, [1, 2], 2),
        ("keras", {"max_steps": 7, "logging_steps": 3}, [3, 6, 7], 7),
        ("tf_keras", {"num_train_epochs": 2.5, "logging_steps": 0.25}, [2, 4, 6, 8], 8),
        nightly("keras", {"num_train_epochs": 2.5, "logging_steps": 0.25}, [2, 4, 6, 8], 8),
        ("tf_keras", {"num_train_epochs": 2, "dataloader_drop_last": True, "logging_steps": 3}, [3, 4], 4),
        ("keras", {"num_train_epochs": 2, "logging_steps": 4, "logging_first_step": True}, [1, 4, 6], 6),
        ("tf_keras", {"num_train_epochs": 2.5, "logging_strategy": "epoch"}, [3, 6, 8], 8),
        nightly(
            "keras", {"num_train_epochs": 2, "logging_strategy": "epoch", "logging_first_step": True}, [1, 3, 6], 6
        ),
        nightly("tf_keras", {"num_train_epochs": 1, "logging_strategy": "no"}, [], 3),
        ("keras", {"num_train_epochs": 1, "logging_strategy": "no", "logging_first_step": True}, [1], 3),
    ],
)
def test_rows_of_a_training(kind, options, steps, last):
    trainer = trainer_of(tiny.functional(kind), named(), report_to="wandb", **options)
    assert trainer.train().global_step == last
    rows = train_rows(history(finish()))
    assert steps_of(rows) == steps
    per_epoch = 2 if options.get("dataloader_drop_last") else 3
    assert [row["train/epoch"] for row in rows] == pytest.approx([step / per_epoch for step in steps])


@pytest.mark.parametrize(
    ("kind", "options", "steps"),
    [
        nightly("tf_keras", {"eval_strategy": "no"}, []),
        ("keras", {"eval_strategy": "steps", "eval_steps": 2}, [2, 4, 6, 8]),
        ("tf_keras", {"eval_strategy": "steps", "eval_steps": 0.4}, [4, 8]),
        ("keras", {"eval_strategy": "steps", "logging_steps": 5}, [5]),
        nightly("tf_keras", {"eval_strategy": "epoch"}, [3, 6, 8]),
        ("keras", {"eval_strategy": "epoch"}, [3, 6, 8]),
    ],
)
def test_evaluations_of_a_training(kind, options, steps):
    trainer = trainer_of(tiny.functional(kind), named(), max_steps=8, report_to="wandb", **options)
    trainer.train()
    rows = eval_rows(history(finish()))
    assert steps_of(rows) == steps
    for row in rows:
        assert {"eval/loss", "eval/accuracy", "eval/runtime", "eval/samples_per_second"} <= set(row)
        assert row["train/epoch"] == pytest.approx(row[STEP] / 3)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_evaluation_shows_in_history_and_to_later_callbacks(kind):
    keras = importlib.import_module(kind)
    seen = []

    class See(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(dict(logs))

    model = tiny.functional(kind)
    # Each evaluation is worse than the one before, as the labels it is evaluated on are turned round.
    x, y = samples(11)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0)
    trainer = trainer_of(
        model,
        [named(), tiny.named((x, (y + 1) % 3))],
        callbacks=[See(), stop],
        compute_metrics=lambda prediction: {"table": [[1, 2], [3, 4]], "half": np.float32(0.5)},
        eval_strategy="epoch",
        learning_rate=0.05,
        num_train_epochs=9,
    )
    assert trainer.train().global_step < 27
    assert stop.stopped_epoch == len(seen) - 1
    assert [logs["val_loss"] for logs in seen] == model.history.history["val_loss"]
    assert {"loss", "accuracy", "val_accuracy"} <= set(seen[0])
    assert seen[0]["val_half"] == 0.5
    assert "val_table" not in seen[0]
    assert trainer.evaluate()["eval_table"] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_evaluation_leaves_a_training_as_it_is(kind):
    def trained(**options):
        model = tiny.functional(kind, dropout=0.3)
        trainer_of(model, named(), num_train_epochs=3, learning_rate=0.02, **options).train()
        return weights_of(model), model.history.history

    weights, logs = trained()
    evaluated_weights, evaluated_logs = trained(eval_strategy="steps", eval_steps=1)
    np.testing.assert_array_equal(evaluated_weights, weights)
    assert {name: evaluated_logs[name] for name in logs} == logs


def test_compute_metrics_gets_padded_predictions_and_labels():
    model = tiny.distilbert()
    got = []
    data = tiny.tagged()
    trainer_of(model, data, compute_metrics=lambda prediction: got.append(prediction) or {}).evaluate()
    (prediction,) = got
    assert prediction.predictions.shape == (11, 17, 4)
    for row, ids in enumerate(data["input_ids"]):
        logits = model({"input_ids": tf.constant([ids])}).logits.numpy()[0]
        np.testing.assert_allclose(prediction.predictions[row, : len(ids)], logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(prediction.label_ids[row, : len(ids)], data["labels"][row])
        assert (prediction.label_ids[row, len(ids) :] == -100).all()
    # Batches of 4, 4 and 3: the first is 10 tokens wide.
    assert (prediction.predictions[:4, 15:] == -100).all()


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_several_evaluation_data_sets(kind):
    model = tiny.functional(kind)
    own, other = named(), named(7)
    as_dataset = datasets.Dataset.from_dict({"x": own[0]["x"], "labels": own[1]})
    trainer = trainer_of(
        model, [own, {"own": as_dataset, "other": other}], max_steps=2, report_to="wandb", eval_strategy="epoch"
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_own_loss"] == pytest.approx(trainer.evaluate(own)["eval_loss"])
    assert metrics["eval_other_loss"] == pytest.approx(trainer.evaluate(other, metric_key_prefix="eval")["eval_loss"])
    rows = eval_rows(history(finish()))
    assert steps_of(rows) == [2] * 6
    assert rows[0]["eval/own_loss"] == pytest.approx(metrics["eval_own_loss"])
    assert rows[1]["eval/other_loss"] == pytest.approx(metrics["eval_other_loss"])


# Optimizers


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_an_optimizer_or_a_schedule_of_ones_own(kind):
    keras = importlib.import_module(kind)
    optimizer = keras.optimizers.SGD(0.25)
    model = tiny.functional(kind)
    trainer_of(model, named(), optimizers=(optimizer, None), max_steps=2, logging_steps=1, report_to="wandb").train()
    assert model.optimizer is optimizer
    assert [row["train/learning_rate"] for row in train_rows(history(finish()))] == [0.25, 0.25]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [0.5, 0.25, 0.125])
    model = tiny.functional(kind)
    trainer_of(model, named(), optimizers=(None, schedule), max_steps=3, logging_steps=1, report_to="wandb").train()
    assert model.optimizer.name == "AdamW"
    assert [row["train/learning_rate"] for row in train_rows(history(finish()))] == [0.5, 0.25, 0.125]
    with pytest.raises(
        SettingError, match=r"optimizers=.*Expected an optimizer or a schedule.*Pass \(optimizer, None\)"
    ):
        trainer_of(model, optimizers=(optimizer, schedule))


@pytest.mark.parametrize(
    ("options", "batches", "steps"), [nightly({"max_steps": 2}, 4, [1, 2]), ({"num_train_epochs": 2}, 6, [2, 3])]
)
def test_steps_are_those_of_the_optimizer_under_gradient_accumulation(options, batches, steps):
    keras = importlib.import_module("keras")
    model = tiny.functional("keras")
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=2)
    trainer = trainer_of(model, named(), optimizers=(optimizer, None), logging_steps=0.5, report_to="wandb", **options)
    assert trainer.train().global_step == batches // 2
    assert int(optimizer._iterations) == batches
    assert steps_of(train_rows(history(finish()))) == steps


# The run


def config_of(directory) -> dict:
    config: dict = {}
    for record in records(directory):
        config |= record.get("config", {}).get("update", {}) if record["type"] == "config" else {}
        config |= record.get("run", {}).get("config", {}).get("update", {}) if record["type"] == "run" else {}
    return config


def test_a_model_made_from_its_config_is_traced_once_and_its_size_is_in_the_run(monkeypatch):
    traced = []

    def train_step(self, data):
        traced.append(1)
        return own(self, data)

    own = transformers.TFBertForSequenceClassification.train_step
    monkeypatch.setattr(transformers.TFBertForSequenceClassification, "train_step", train_step)
    model = transformers.TFBertForSequenceClassification(tiny.bert_config())
    trainer = trainer_of(model, tiny.classified(), save_strategy="no", num_train_epochs=2, report_to="wandb")
    assert trainer.train().global_step == 6
    assert len(traced) == 1
    assert config_of(finish())["model/num_parameters"] == model.count_params()


class WithAnotherHead(transformers.TFBertForSequenceClassification):
    """Its class says that it is built when the layers of the one above are."""

    def __init__(self, config):
        super().__init__(config)
        self.another = tf_keras.layers.Dense(config.num_labels, name="another")

    def call(self, input_ids=None, **options):
        outputs = super().call(input_ids, **options)
        outputs["logits"] = self.another(outputs["logits"])
        return outputs


@pytest.mark.nightly
@pytest.mark.parametrize("save_strategy", ["steps", "no"])
def test_layers_that_a_subclass_adds_are_trained_and_saved(save_strategy):
    model = WithAnotherHead(tiny.bert_config())
    if save_strategy == "steps":
        model.build_in_name_scope()  # As from_pretrained leaves it.
    trainer_of(model, tiny.classified(), max_steps=3, save_strategy=save_strategy, save_steps=2).train()
    assert len(model.another.weights) == 2
    names = [variable.name for variable in model.optimizer.variables]
    assert any("another" in name for name in names)
    if save_strategy == "steps":
        saved = load_file("trainer_output/checkpoint-2/training_state.safetensors")
        assert any("another" in name for name in saved)


def test_the_config_of_the_run():
    model = tiny.bert(hub_token="hf_" + "x" * 30)
    data = tiny.classified()
    trainer = trainer_of(
        model, data, max_steps=1, report_to="wandb", run_name="small", learning_rate=3e-5, eval_strategy="epoch"
    )
    trainer.train()
    directory = finish()
    config = config_of(directory)
    assert config["hidden_size"] == 16
    assert config["learning_rate"] == 3e-5
    assert config["per_device_train_batch_size"] == 4
    assert config["model/num_parameters"] == model.count_params()
    assert config["optimizer"]["name"] == "AdamW"
    for name in ("train_dataset", "eval_dataset"):
        assert config[f"{name}/fingerprint"] == data._fingerprint
        assert config[f"{name}/num_samples"] == 11
    for package in ("keras", "tf_keras", "tensorflow", "transformers"):
        assert config[f"versions/{package}"] == importlib.import_module(package).__version__
    assert config["distribution/num_replicas"] == 1
    run = next(record["run"] for record in records(directory) if record["type"] == "run")
    assert (run["display_name"], run["project"]) == ("small", "huggingface")
    assert config["hub_token"] == "<HUB_TOKEN>"
    assert "xxxxxxxx" not in str(records(directory))


def test_the_run_opens_at_the_first_event_and_continues():
    trainer = trainer_of(tiny.functional("tf_keras"), named(), max_steps=2, report_to="wandb")
    assert trainer.run_directory is None
    assert not pathlib.Path("wandb").exists()
    trainer.evaluate()
    directory = trainer.run_directory
    trainer.train()
    trainer.evaluate()
    trainer.predict(named())
    assert trainer.run_directory == directory == finish()
    rows = history(directory)
    assert steps_of(eval_rows(rows)) == [0, 2]
    assert steps_of([row for row in rows if "test/loss" in row]) == [2]


def exit_code(directory) -> int:
    return next(record["exit"].get("exit_code", 0) for record in records(directory) if record["type"] == "exit")


@pytest.mark.parametrize(("error", "code"), [(ValueError("x"), 1), (KeyboardInterrupt(), 255)])
def test_a_run_of_a_training_that_fails_is_marked(error, code):
    import wandb

    class Fail(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise error

    trainer = trainer_of(
        tiny.functional("tf_keras"), named(), callbacks=[Fail()], logging_steps=1, max_steps=3, report_to="wandb"
    )
    with pytest.raises(type(error)):
        trainer.train()
    assert wandb.run is None
    (directory,) = pathlib.Path("wandb").glob("offline-run-*")
    assert exit_code(directory) == code
    assert steps_of(train_rows(history(directory))) == [1, 2]

    # What comes after it has a run of its own, and its steps are counted on.
    trainer.callbacks.clear()
    trainer.evaluate()
    assert trainer.train().global_step == 5
    assert trainer.run_directory != str(directory.resolve())
    rows = history(finish())
    assert steps_of(rows) == [2, 3, 4, 5]


def test_a_run_of_the_users_own_is_used_and_not_finished():
    import wandb

    class Fail(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("x")

    run = wandb.init(project="own")
    trainer = trainer_of(tiny.functional("tf_keras"), named(), callbacks=[Fail()], max_steps=3, report_to="wandb")
    with pytest.raises(ValueError, match="x"):
        trainer.train()
    assert wandb.run is run
    trainer.callbacks.clear()
    trainer.train()
    directory = finish()
    assert exit_code(directory) == 0
    assert config_of(directory)["max_steps"] == 3


@pytest.mark.slow
def test_without_reports_wandb_is_neither_imported_nor_asked():
    code = """
import sys, tiny
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments
data = tiny.named(samples(8))
args = TFTrainingArguments(report_to="none", max_steps=2, eval_strategy="epoch", disable_tqdm=True)
trainer = TFTrainer(tiny.functional("tf_keras"), args, train_dataset=data, eval_dataset=data)
trainer.train(), trainer.predict(data), trainer.save_model()
print("wandb" in sys.modules)
"""
    assert python("-c", code).stdout.splitlines()[-1] == "False"
    assert not pathlib.Path("wandb").exists()


# Bad input, before time is spent


def test_what_is_not_a_keras_model_is_refused():
    with pytest.raises(NotAKerasModelError, match=r"model=builtins.str is not a Keras model. Expected .* transformers"):
        TFTrainer("bert-base-uncased")

    class Linear:
        pass

    Linear.__module__ = "torch.nn.modules.linear"
    with pytest.raises(NotAKerasModelError, match=r"torch.nn.modules.linear.*For a PyTorch model use the Trainer"):
        TFTrainer(Linear())


@pytest.mark.parametrize("kind", KERASES)
def test_a_plain_model_must_be_compiled(kind):
    keras = importlib.import_module(kind)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(SettingError, match=r"Sequential.* has no loss of its own. Call model.compile\(loss=..."):
        trainer_of(model, samples(8))


def test_whole_numbers_that_are_too_large_for_a_float_are_infinite_in_the_run():
    metrics = {"huge": 10**400, "infinite": float("inf"), "one": 1}
    model = tiny.functional("keras")
    trainer = trainer_of(model, named(), compute_metrics=lambda prediction: metrics, report_to="wandb")
    found = trainer.evaluate()
    assert (found["eval_huge"], found["eval_infinite"], found["eval_one"]) == (10**400, float("inf"), 1)
    (row,) = eval_rows(history(finish()))
    assert (row["eval/huge"], row["eval/infinite"], row["eval/one"]) == (float("inf"), float("inf"), 1)


BACKEND = """
import keras
from tf_hfwb import *
from tf_hfwb.errors import SettingError
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
model.compile(loss="mse")
log = lambda: TFTrainer(model, TFTrainingArguments(report_to="none"))
callbacks = [WandbMetricsLogger(), WandbModelCheckpoint("out"), EarlyStopping(), WandbWatch(), WandbEvalTable(None)]
begins = []
for callback in callbacks:
    callback.set_model(model)
    begins.append(callback.on_train_begin)
for begin in [log, *begins]:
    try:
        begin()
    except SettingError as error:
        print(error)
"""


def test_backends_that_are_not_supported_are_named():
    """Keras's own one on NumPy stands for them: it is always there."""
    said = python("-c", BACKEND, KERAS_BACKEND="numpy").stdout.splitlines()
    expected = (
        "KERAS_BACKEND='numpy' cannot be used. Expected 'tensorflow', 'jax' or 'torch': tf_hfwb does not know how "
        "Keras trains on another one. Set KERAS_BACKEND before Keras is imported."
    )
    assert said == [expected] * 6


def test_missing_data():
    model = tiny.functional("tf_keras")
    with pytest.raises(DataError, match=r"train_dataset=None: there is nothing to train on. Pass train_dataset"):
        trainer_of(model).train()
    with pytest.raises(DataError, match=r"eval_dataset=None: there is nothing to evaluate on"):
        trainer_of(model).evaluate()
    with pytest.raises(SettingError, match=r"eval_dataset=None .*eval_strategy='epoch'.*or set eval_strategy='no'"):
        trainer_of(model, [named(), None], eval_strategy="epoch")


def of_unknown_length():
    x, y = samples(8)
    spec = ({"x": tf.TensorSpec([None, 4])}, tf.TensorSpec([None], tf.int64))
    return tf.data.Dataset.from_generator(lambda: [({"x": x[:4]}, y[:4]), ({"x": x[4:]}, y[4:])], output_signature=spec)


def test_data_that_cannot_be_used_is_refused_before_the_first_step():
    started = []

    class Note(tf_keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            started.append(True)

    bert, note = tiny.bert(), {"callbacks": [Note()]}
    with pytest.raises(DataError, match=r"The dataset has no rows"):
        trainer_of(bert, tiny.classified().select([]), **note).train()
    with pytest.raises(DataError, match=r"No column is a model input: \['text', 'label'\].*Tokenise first"):
        trainer_of(bert, tiny.classified().select_columns(["text", "label"]), **note).train()
    with pytest.raises(DataError, match=r"train_dataset has no labels.*TFBertForSequenceClassification computes its"):
        trainer_of(bert, tiny.texts(), **note).train()
    with pytest.raises(DataError, match=r"eval_dataset has no labels"):
        trainer_of(bert, [tiny.classified(), tiny.texts()], eval_strategy="epoch", **note).train()
    with pytest.raises(DataError, match=r"eval_dataset\['b'\] has no labels"):
        trainer_of(bert, [tiny.classified(), {"a": tiny.classified(), "b": tiny.texts()}]).evaluate()
    with pytest.raises(DataError, match=r"The length of train_dataset is unknown.*Set max_steps"):
        trainer_of(tiny.functional("tf_keras"), of_unknown_length(), **note).train()
    assert not started


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("make", [nightly(of_unknown_length), lambda: of_unknown_length().repeat()])
def test_data_of_unknown_length_is_trained_on_for_max_steps(make, kind):
    trainer = trainer_of(tiny.functional(kind), [make(), named()], max_steps=5, logging_steps=2, report_to="wandb")
    assert trainer.train().global_step == 5
    assert steps_of(train_rows(history(finish()))) == [2, 4, 5]


# Seeds


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_seeds(kind):
    others = itertools.count()

    def losses(**options):
        model = tiny.functional(kind, dropout=0.3)
        importlib.import_module(kind).utils.set_random_seed(next(others))  # What came before does not matter.
        trainer_of(model, named(40), max_steps=10, logging_steps=1, report_to="wandb", **options).train()
        return [row["train/loss"] for row in train_rows(history(finish()))]

    first = losses(seed=7)
    assert losses(seed=7) == first
    other_order = losses(seed=7, data_seed=8)
    assert all(a != b for a, b in zip(first, other_order, strict=True))


# In processes of their own

BITWISE = """
import hashlib, json, sys
import numpy as np, tensorflow as tf
tf.config.experimental.enable_op_determinism()
import tiny
from tf_hfwb import TFTrainer, TFTrainingArguments

def trained(**options):
    model = tiny.bert(hidden_dropout_prob=0.2)
    model.compile("sgd", metrics=["accuracy"])
    data = tiny.classified()
    args = TFTrainingArguments(num_train_epochs=2, per_device_train_batch_size=4, report_to="none", **options)
    args.disable_tqdm = True
    TFTrainer(model, args, train_dataset=data, eval_dataset=data, processing_class=tiny.tokenizer(),
              compute_metrics=lambda prediction: {"n": len(prediction.label_ids)}).train()
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in [*model.variables, *model.optimizer.variables]))
    logs = {k: v for k, v in model.history.history.items() if not k.startswith("val_")}
    return digest.hexdigest(), logs, len(model.history.history)

print(json.dumps([trained(), trained(eval_strategy="steps", eval_steps=1)]))
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_evaluation_leaves_every_bit_of_a_training(launcher):
    (bare, logs, _), (evaluated, evaluated_logs, names) = json.loads(launcher.python(BITWISE).stdout.splitlines()[-1])
    assert evaluated == bare
    assert evaluated_logs == logs
    assert names > len(logs)


MIRRORED = """
import json
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import tiny
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments
from transformers import TFBertForSequenceClassification

def used(name, batch_size, strategy):
    is_bert = name == "bert"
    # Keras halves the loss of a batch that one of two replicas has no samples of: so none in training.
    data, test_data = [tiny.classified(n) if is_bert else tiny.named(samples(n)) for n in (8, 9)]
    with strategy.scope():
        # Of a model made from its config the trainer makes the weights.
        model = TFBertForSequenceClassification(tiny.bert_config()) if is_bert else tiny.functional(name)
        if is_bert:
            model.compile("sgd", metrics=["accuracy"])
    args = TFTrainingArguments(max_steps=5, per_device_train_batch_size=batch_size, learning_rate=0.01,
        per_device_eval_batch_size=batch_size, disable_tqdm=True, report_to="none", eval_strategy="steps", eval_steps=2)
    trainer = TFTrainer(model, args, train_dataset=data, eval_dataset=test_data,
        processing_class=tiny.tokenizer() if is_bert else None,
        compute_metrics=lambda p: {"right": np.mean(np.argmax(p.predictions, axis=-1) == p.label_ids)})
    result, metrics, test = trainer.train(), trainer.evaluate(), trainer.predict(test_data)
    kept = {k: v for k, v in metrics.items() if k in ("eval_loss", "eval_accuracy", "eval_right")}
    return [result.global_step, result.training_loss, kept, test.predictions.tolist(), test.label_ids.tolist()]

one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print(json.dumps({name: [used(name, 4, one), used(name, 2, two)] for name in ("bert", "keras")}))
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_two_replicas_do_what_one_does(launcher):
    results = json.loads(launcher.python(MIRRORED).stdout.splitlines()[-1])
    for name, (one, two) in results.items():
        assert two[0] == one[0] == 5, name
        assert two[1] == pytest.approx(one[1], rel=1e-4), name
        assert two[2] == pytest.approx(one[2], rel=1e-4), name
        np.testing.assert_allclose(two[3], one[3], rtol=1e-3, atol=1e-3, err_msg=name)
        assert two[4] == one[4], name


JAX_LOGGER = """
import json, os, sys
import keras, wandb
from helpers import classifier, losses_by_hand, samples
from tf_hfwb import WandbMetricsLogger
assert keras.backend.backend() == "jax"
x, y = samples(42)
for options in json.loads(sys.argv[1]):
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=options.pop("accumulation", None))
    model = classifier("keras", optimizer=optimizer, **options)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, validation_data=(x, y),
              callbacks=[WandbMetricsLogger(3)])
    directory = os.path.dirname(wandb.run.dir)
    wandb.finish()
    print(json.dumps([directory, losses_by_hand(model, x, y, 4).tolist(), losses_by_hand(model, x, y, 42)[0]]))
"""


@pytest.mark.nightly
def test_the_metrics_logger_on_jax():
    pytest.importorskip("jax")
    # 42 samples in batches of 4: 11 steps an epoch.
    cases = [
        ({"steps_per_execution": 1}, [3, 6, 9, 12, 15, 18, 21, 22], [11, 22]),
        ({"steps_per_execution": 4}, [4, 8, 11, 15, 19, 22], [11, 22]),
        ({"accumulation": 2}, [3, 6, 9, 11], [5, 11]),
    ]
    options = json.dumps([options for options, _, _ in cases])
    printed = python("-c", JAX_LOGGER, options, KERAS_BACKEND="jax").stdout.splitlines()[-len(cases) :]
    for (options, steps, evaluated), line in zip(cases, printed, strict=True):
        directory, losses, whole = json.loads(line)
        rows = history(directory)
        assert steps_of(train_rows(rows)) == steps
        losses, previous = np.tile(losses, 2), 0
        for row in train_rows(rows):
            last = row[STEP] * options.get("accumulation", 1)
            assert row["train/loss"] == pytest.approx(np.mean(losses[previous:last]), rel=1e-5)
            previous = last
        assert steps_of(eval_rows(rows)) == evaluated
        assert [row["eval/loss"] for row in eval_rows(rows)] == pytest.approx([whole, whole], rel=1e-5)


JAX_TRAINER = """
import json
import keras, tiny
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments
assert keras.backend.backend() == "jax"

def trained(**options):
    model = tiny.functional("keras")
    args = TFTrainingArguments(max_steps=8, per_device_train_batch_size=4, per_device_eval_batch_size=4,
        learning_rate=0.01, logging_steps=3, disable_tqdm=True, **options)
    data = tiny.named(samples(11))
    trainer = TFTrainer(model, args, train_dataset=data, eval_dataset=data)
    result, test = trainer.train(), trainer.predict(data)
    weights = [weight.tolist() for weight in model.get_weights()]
    return result.global_step, result.training_loss, weights, test.metrics["test_loss"], trainer.run_directory

print(json.dumps([trained(report_to="none"), trained(eval_strategy="steps", eval_steps=2)]))
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_the_trainer_on_jax():
    pytest.importorskip("jax")
    printed = python("-c", JAX_TRAINER, KERAS_BACKEND="jax").stdout.splitlines()[-1]
    bare, (steps, loss, weights, test_loss, directory) = json.loads(printed)
    assert [steps, loss, weights] == bare[:3]
    rows = history(directory)
    assert steps == 8
    assert steps_of(train_rows(rows)) == [3, 6, 8]
    assert steps_of(eval_rows(rows)) == [2, 4, 6, 8]
    assert eval_rows(rows)[-1]["eval/loss"] == pytest.approx(test_loss, rel=1e-5)
