"""``report_to`` and the loggers of dashboards: the rows that W&B gets, made once, resumed, and without W&B."""

from __future__ import annotations

import glob
import logging
import os
import sys

import numpy as np
import pytest
import tiny
from event_files import end_status, hyperparameters, scalars, tensors, texts
from helpers import classifier, finish, history, nightly, python, samples

from tf_hfwb import (
    TensorBoardLogger,
    TFTrainer,
    TFTrainingArguments,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
    restore,
)
from tf_hfwb.errors import SettingError


def trainer_of(model, data, **arguments) -> TFTrainer:
    callbacks = arguments.pop("callbacks", None)
    options = {"report_to": "tensorboard", "save_strategy": "no", "logging_steps": 2, "num_train_epochs": 2}
    options |= {"per_device_train_batch_size": 4, "disable_tqdm": True, "seed": 3, **arguments}
    args = TFTrainingArguments("out", **options)
    more = {"processing_class": tiny.tokenizer(), "callbacks": callbacks}
    return TFTrainer(model, args, train_dataset=data, eval_dataset=data, **more)


def same_numbers(shown, rows) -> None:
    """Everything that the rows have of numbers is shown at the same step, and nothing else but totals."""
    expected: dict = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, (int, float)) and "sample_predictions" not in row:
                expected.setdefault(name, []).append((row["train/global_step"], value))
    totals = {name for name in shown if name.startswith(("train_", "best/"))}
    assert set(shown) - totals == set(expected)
    for name, values in expected.items():
        assert [step for step, _ in shown[name]] == [step for step, _ in values], name
        np.testing.assert_allclose([v for _, v in shown[name]], [v for _, v in values], rtol=1e-6)


def test_tensorboard_beside_wandb_gets_the_same_rows():
    table = WandbEvalTable(tiny.classified(), processing_class=tiny.tokenizer(), num_samples=3)
    trainer = trainer_of(
        tiny.bert(),
        tiny.classified(),
        report_to=["wandb", "tensorboard", "wandb"],
        logging_dir="logs",
        eval_strategy="epoch",
        run_name="both",
        callbacks=[table, WandbWatch("all", log_freq=3)],
    )
    trainer.train()
    trainer.evaluate()
    directory = finish()
    rows = history(directory)
    same_numbers(scalars("logs"), rows)
    shown = tensors("logs", "histograms")
    logged = {name for row in rows for name, value in row.items() if name.startswith(("gradients/", "parameters/"))}
    assert set(shown) == logged != set()
    ((step, _), *_) = shown[sorted(logged)[0]]
    assert step == 3
    steps = [step for step, _ in texts("logs")["sample_predictions"]]
    assert steps == [row["train/global_step"] for row in rows if "sample_predictions" in row] == [3, 6]
    assert hyperparameters("logs")["learning_rate"] == 5e-05
    assert '"model_type": "bert"' in texts("logs")["config"][-1][1]
    assert end_status("logs") == "STATUS_SUCCESS"


ALONE = """
import sys
import keras, numpy as np
from tf_hfwb import TensorBoardLogger, WandbWatch
x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
callbacks = [TensorBoardLogger("logs", log_freq=2), WandbWatch("all", log_freq=3)]
model.fit(x, x[:, :1], batch_size=4, verbose=0, callbacks=callbacks)
print(sorted({"wandb", "tensorflow"} & set(sys.modules)))
"""


def test_on_jax_neither_wandb_nor_tensorflow_is_imported():
    assert python("-c", ALONE, KERAS_BACKEND="jax").stdout.strip() == "[]"
    assert [step for step, _ in scalars("logs")["train/loss"]] == [2, 4, 6]
    assert {step for values in tensors("logs", "histograms").values() for step, _ in values} == {3, 6}


TRAINER = """
import sys
from tf_hfwb import TFTrainer, TFTrainingArguments
import datasets, tf_keras, transformers
config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
model = transformers.TFBertForSequenceClassification(config)
data = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3]] * 8, "attention_mask": [[1] * 3] * 8, "label": [0, 1] * 4})
args = TFTrainingArguments("out", report_to="tensorboard", logging_dir="logs", max_steps=2, eval_strategy="epoch")
TFTrainer(model, args, train_dataset=data, eval_dataset=data).train()
print("wandb" in sys.modules)
"""


@pytest.mark.nightly
def test_a_trainer_without_wandb_does_not_import_it():
    assert python("-c", TRAINER).stdout.splitlines()[-1] == "False"
    assert scalars("logs")["train/loss"]


def test_a_training_without_wandb():
    trainer = trainer_of(tiny.bert(), tiny.classified(), eval_strategy="epoch")
    trainer.train()
    trainer.evaluate()
    (directory,) = glob.glob("out/runs/*")
    shown = scalars(directory)
    assert [step for step, _ in shown["train/loss"]] == [2, 4, 6]
    assert [step for step, _ in shown["eval/loss"]] == [3, 6, 6]
    assert "train_runtime" in shown
    assert "best/eval/loss" in shown
    assert not os.path.exists("wandb")
    assert trainer.run_directory is None
    trainer.train(resume_from_checkpoint=False)  # Anew.
    shown = scalars(f"{directory}/run-2")
    assert [step for step, _ in shown["train/loss"]] == [2, 4, 6]
    assert shown["best/eval/loss"][0][0] == 3  # Its own best, not that of the training before.


def test_a_failed_training_is_marked_failed():
    class StopError(Exception):
        pass

    import tf_keras

    class Fails(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise StopError

    trainer = trainer_of(tiny.bert(), tiny.classified(), logging_dir="logs", callbacks=[Fails()])
    with pytest.raises(StopError):
        trainer.train()
    assert end_status("logs") == "STATUS_FAILURE"
    assert [step for step, _ in scalars("logs")["train/loss"]] == [2]


def test_a_resumed_training_continues_in_its_directory():
    """The rows of an interrupted and resumed training are those of an uninterrupted one."""
    whole = trainer_of(tiny.bert(), tiny.classified(), logging_dir="whole", eval_strategy="epoch", save_strategy="no")
    whole.train()
    options = {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 2}
    trainer_of(tiny.bert(), tiny.classified(), **options).train()
    (directory,) = glob.glob("out/runs/*")
    again = trainer_of(tiny.bert(), tiny.classified(), **options)
    again.train(resume_from_checkpoint="out/checkpoint-2")
    assert glob.glob("out/runs/*") == [directory]
    resumed, uninterrupted = scalars(directory), scalars("whole")
    for name in ("train/loss", "train/learning_rate", "eval/loss", "train/epoch"):
        assert [step for step, _ in resumed[name]] == [step for step, _ in uninterrupted[name]], name
        np.testing.assert_allclose([v for _, v in resumed[name]], [v for _, v in uninterrupted[name]], rtol=1e-5)
    elsewhere = trainer_of(tiny.bert(), tiny.classified(), logging_dir="elsewhere", **options)
    elsewhere.train(resume_from_checkpoint="out/checkpoint-4")
    assert scalars("elsewhere")["train/loss"] == resumed["train/loss"]


@pytest.mark.parametrize("kind", ["keras", *([nightly("tf_keras")])])
def test_plain_fit(kind):
    x, y = samples(24)
    logger = TensorBoardLogger("logs", log_freq=2, config={"mine": 1})
    watch = WandbWatch("parameters", log_freq=3)
    model = classifier(kind, learning_rate=0.1)
    model.fit(x, y, validation_data=(x, y), batch_size=4, epochs=2, verbose=0, callbacks=[logger, watch])
    model.evaluate(x, y, verbose=0, callbacks=[logger])
    shown = scalars("logs")
    assert [step for step, _ in shown["train/loss"]] == [2, 4, 6, 8, 10, 12]
    assert [step for step, _ in shown["eval/accuracy"]] == [6, 12, 12]
    assert {step for values in tensors("logs", "histograms").values() for step, _ in values} == {3, 6, 9, 12}
    assert hyperparameters("logs")["mine"] == 1
    assert not os.path.exists("wandb")


@pytest.mark.parametrize("is_first", [True, False])
def test_beside_a_logger_of_wandb_the_rows_are_made_once(is_first):
    x, y = samples(24)
    ours, theirs = TensorBoardLogger("logs", log_freq=2), WandbMetricsLogger(log_freq=2)
    callbacks = [ours, theirs] if is_first else [theirs, ours]
    model = classifier("keras", learning_rate=0.1)
    for _ in range(2):
        model.fit(x, y, validation_data=(x, y), batch_size=4, verbose=0, callbacks=callbacks)
    same_numbers(scalars("logs"), history(finish()))


def test_loggers_that_want_different_rows_are_refused():
    x, y = samples(8)
    with pytest.raises(SettingError, match=r"log_freq=5 cannot be used. Expected 2, .*Give both the same"):
        classifier("keras").fit(x, y, verbose=0, callbacks=[TensorBoardLogger("a", 2), WandbMetricsLogger(5)])


def test_a_restored_fit_repeats_no_step():
    x, y = samples(24)

    def fit(epochs: int, source=None) -> None:
        model = classifier("keras", learning_rate=0.1)
        if source is not None:
            restore(model, source)
        callbacks = [TensorBoardLogger("logs", log_freq=2), WandbModelCheckpoint("out", save_freq=4, log_model="false")]
        model.fit(x, y, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)

    fit(1)
    fit(2, "out/checkpoint-4")
    assert [step for step, _ in scalars("logs")["train/loss"]] == [2, 4, 6, 8, 10, 12]


def test_what_is_not_installed_is_refused_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("tf_hfwb.dashboards.installed_dashboards.find_spec", lambda name: None)
    for name in ("tensorboard", "trackio"):
        with pytest.raises(SettingError, match=rf"report_to='{name}' .* pip install 'tf_hfwb\[{name}\]'"):
            TFTrainingArguments("out", report_to=name)
    with pytest.raises(SettingError, match=r"pip install 'tf_hfwb\[tensorboard\]'"):
        TensorBoardLogger()


def test_the_default_stays_wandb_and_all_is_what_is_installed(monkeypatch):
    assert TFTrainingArguments("out").report_to == ["wandb"]
    found = {"wandb": True, "tensorboard": True}
    monkeypatch.setattr("tf_hfwb.trainer.arguments.argument_values.find_spec", found.get)
    assert TFTrainingArguments("out", report_to="all").report_to == ["wandb", "tensorboard"]


def test_arguments_of_a_dashboard_that_gets_nothing_are_mentioned(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("tf_hfwb.trainer.arguments.argument_support._mentioned", set())
    TFTrainingArguments("out", report_to="none", logging_dir="logs", project="mine")
    assert "logging_dir='logs', as report_to does not name tensorboard" in caplog.text
    assert "project='mine', as report_to does not name trackio" in caplog.text


def test_the_callback_of_transformers_is_refused_beside_it():
    from transformers.integrations import TensorBoardCallback

    with pytest.raises(SettingError, match=r"no TensorBoardCallback beside report_to='tensorboard'"):
        trainer_of(tiny.bert(), tiny.classified(), callbacks=[TensorBoardCallback])
