"""Keras 3 on PyTorch: rows, checkpoints, exact resumption, watching, and what is refused."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import datasets
import keras
import numpy as np
import pytest
from helpers import classifier, finish, history, losses_by_hand, nightly, python, samples, train_rows

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed", allow_module_level=True)
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another backend; .ci/run has an environment for this one", allow_module_level=True)

import torch
import torch_training

from tf_hfwb import (
    EarlyStopping,
    TFTrainer,
    TFTrainingArguments,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
    export_for_serving,
    load_model,
    restore,
)
from tf_hfwb.errors import MissingPackageError, SettingError
from tf_hfwb.keras_compat import distribution_of_array
from tf_hfwb.keras_compat.gradients.histogram_bins import distribution_of_vector, vector_in_torch

pytestmark = pytest.mark.torch

KINDS = ["arrays", "shuffled", "loader", nightly("short_epochs"), nightly("validated")]


class InterruptionError(Exception):
    pass


def interrupt():
    raise InterruptionError


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_have_the_loss_of_their_steps_and_the_rate():
    model, (x, y) = classifier("keras"), samples(22)
    expected = losses_by_hand(model, x, y, 4)
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbMetricsLogger(log_freq=2)])
    rows = train_rows(history(finish()))
    means = [expected[start : start + 2].mean() for start in range(0, 6, 2)]
    np.testing.assert_allclose([row["train/loss"] for row in rows], means, rtol=1e-5)
    assert [row["train/learning_rate"] for row in rows] == [0.0] * 3


def test_rows_have_the_rate_of_a_schedule_and_evaluations():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 6, end_learning_rate=0.04)
    model, data = classifier("keras", optimizer=keras.optimizers.SGD(schedule)), samples(12)
    model.fit(*data, batch_size=4, epochs=2, validation_data=data, verbose=0, callbacks=[WandbMetricsLogger(1)])
    rows = history(finish())
    rates = [row["train/learning_rate"] for row in train_rows(rows)]
    np.testing.assert_allclose(rates, [0.1 - 0.01 * step for step in range(6)], rtol=1e-5)
    evaluated = [row["eval/loss"] for row in rows if "eval/loss" in row]
    assert len(evaluated) == 2
    assert evaluated[-1] == pytest.approx(model.evaluate(*data, verbose=0)[0], rel=1e-5)


def test_a_user_s_train_step_is_recorded():
    class Halving(keras.Sequential):
        def train_step(self, data):
            x, y = data
            self.zero_grad()
            loss = self.compute_loss(x, y, self(x, training=True)) / 2
            loss.backward()
            weights = self.trainable_weights
            with torch.no_grad():
                self.optimizer.apply([weight.value.grad for weight in weights], weights)
            return {"loss": loss}

    model = Halving([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = samples(8)
    expected = losses_by_hand(model, x, y, 4) / 2
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbMetricsLogger(log_freq=1)])
    found = [row["train/loss"] for row in train_rows(history(finish()))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.nightly
def test_compiled_steps_are_recorded():
    model, (x, y) = classifier("keras", jit_compile=True), samples(22)
    expected = losses_by_hand(model, x, y, 4)
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbMetricsLogger(log_freq=1)])
    rows = train_rows(history(finish()))
    np.testing.assert_allclose([row["train/loss"] for row in rows], expected, rtol=1e-5)


# -- checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("save_freq", [torch_training.SAVE_FREQ, nightly("epoch")])
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(kind, save_freq):
    whole, whole_history = torch_training.train("whole", kind, save_freq=save_freq)
    expected = torch_training.state_of(whole)
    with pytest.raises(InterruptionError):
        torch_training.train("cut", kind, interrupt=interrupt, save_freq=save_freq)
    torch.manual_seed(1234)
    resumed, resumed_history = torch_training.train("cut", kind, resume=True, save_freq=save_freq)
    found = torch_training.state_of(resumed)
    assert [name for name in expected if not np.array_equal(expected[name], found[name])] == []
    assert {name: values[-1] for name, values in resumed_history.items()} == {
        name: values[-1] for name, values in whole_history.items()
    }


@pytest.mark.slow
def test_a_killed_process_resumes_bit_for_bit():
    script = str(pathlib.Path(torch_training.__file__))
    whole = python(script, "whole", "shuffled").stdout
    assert python(script, "cut", "shuffled", "kill", check=False).returncode == -9
    assert python(script, "cut", "shuffled", "resume").stdout.splitlines()[-1] == whole.splitlines()[-1]


def test_batches_that_are_shuffled_within_are_refused_in_the_middle_of_an_epoch():
    with pytest.raises(InterruptionError):
        torch_training.train("cut", "arrays", interrupt=interrupt)
    model = torch_training.model_of()
    restore(model, "cut")
    with pytest.raises(SettingError, match="shuffle"):
        model.fit(**{**torch_training.data_of("arrays"), "shuffle": "batch"}, epochs=3, verbose=0)


def test_the_best_weights_come_back_and_a_checkpoint_loads():
    model, data = classifier("keras", learning_rate=20.0), samples(24)
    stopping = EarlyStopping(monitor="eval_loss", patience=9)
    saver = WandbModelCheckpoint("out", load_best_at_end=True, monitor="eval_loss")
    past = model.fit(*data, batch_size=4, epochs=3, validation_data=data, verbose=0, callbacks=[stopping, saver])
    losses = past.history["val_loss"]
    assert model.evaluate(*data, verbose=0)[0] == pytest.approx(min(losses), rel=1e-6)
    best = load_model(f"out/checkpoint-{6 * (1 + int(np.argmin(losses)))}")
    np.testing.assert_array_equal(best.predict(data[0], verbose=0), model.predict(data[0], verbose=0))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", nightly("mixed_float16"), nightly("bfloat16")])
def test_reduced_precision_is_saved_and_restored(policy):
    def train(epochs, *callbacks):
        model = classifier("keras", learning_rate=0.1)
        if callbacks:
            callbacks = [WandbMetricsLogger(log_freq=1), WandbModelCheckpoint("out")]
        else:
            restore(model, "out/checkpoint-3")
        model.fit(*samples(12), batch_size=4, shuffle=False, epochs=epochs, verbose=0, callbacks=[*callbacks])
        return torch_training.state_of(model)

    keras.config.set_dtype_policy(policy)
    try:
        whole, resumed = train(2, "saving"), train(2)
    finally:
        keras.config.set_dtype_policy("float32")
    assert [name for name in whole if not np.array_equal(whole[name], resumed[name])] == []


# -- watching ----------------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_step():
    model, (x, y) = classifier("keras"), samples(4)
    labels, loss = torch.tensor(y), model.loss
    loss(labels, model(x)).backward()
    expected = [weight.value.grad.numpy().copy() for weight in model.trainable_weights]
    model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[WandbWatch("all", log_freq=2)])
    rows = [
        row for row in history(finish()) if "gradients/norm" in row or any("gradients_norm" in name for name in row)
    ]
    assert len(rows) == 1
    for weight, gradient in zip(model.trainable_weights, expected, strict=True):
        assert rows[0][f"gradients_norm/{weight.path}"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
        values = keras.ops.convert_to_numpy(weight)
        assert rows[0][f"parameters_norm/{weight.path}"] == pytest.approx(np.linalg.norm(values), rel=1e-5)


@pytest.mark.parametrize(
    "values",
    [[0.0, 3.0, 4.0, np.nan], [], [np.inf, -np.inf], [2.0, 2.0], list(np.linspace(-1, 1, 777))],
    ids=["nan", "empty", "infinite", "same", "many"],
)
def test_a_distribution_is_that_of_numpy(values):
    array = np.array(values, np.float32)
    expected = distribution_of_array(array)
    found = distribution_of_vector(vector_in_torch(torch.from_numpy(array)).numpy())
    np.testing.assert_allclose(
        [found.norm, found.low, found.high], [expected.norm, expected.low, expected.high], rtol=1e-6
    )
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.nonfinite == expected.nonfinite


# -- the trainer -------------------------------------------------------------------------------------------------------


needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="TFTrainer needs transformers"
)


def train(model, trainer_class=TFTrainer, *, resume=None, **options):
    """Train on 22 samples; returns the model."""
    defaults = {
        "output_dir": "out",
        "max_steps": 5,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.1,
        "optim": "sgd",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    args = TFTrainingArguments(**{**defaults, **options})
    trainer = trainer_class(model, args, train_dataset=samples(22), eval_dataset=samples(6))
    trainer.train(resume_from_checkpoint=resume)
    return trainer.model


def assert_same(model, other, **tolerance):
    found, expected = torch_training.state_of(model), torch_training.state_of(other)
    for name in (name for name in expected if name != "generator"):
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


@needs_transformers
def test_the_trainer_accumulates_gradients():
    """Two batches of two samples are one of four; the last group of an epoch is smaller."""
    whole = train(classifier("keras", metrics=()), max_steps=12)
    assert_same(
        train(
            classifier("keras", metrics=()),
            max_steps=12,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            save_strategy="steps",
            save_steps=5,
        ),
        whole,
        rtol=1e-4,
        atol=1e-5,
    )


@needs_transformers
@pytest.mark.parametrize("optim", ["adamw_torch", nightly("adafactor"), nightly("lion_32bit")])
def test_a_resumed_trainer_ends_as_one_that_was_not_interrupted(optim):
    options = {
        "optim": optim,
        "learning_rate": 0.01,
        "max_grad_norm": 0.1,
        "weight_decay": 0.1,
        "lr_scheduler_type": "cosine",
        "gradient_accumulation_steps": 2,
        "max_steps": 8,
    }
    whole = train(torch_training.model_of(), save_strategy="steps", save_steps=4, **options)
    again = train(torch_training.model_of(), resume="out/checkpoint-4", **options)
    assert_same(again, whole, rtol=0, atol=0)


@needs_transformers
def test_a_loss_of_the_user_s_is_the_one_that_is_minimized():
    class Own(TFTrainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            labels = inputs.pop("labels")
            outputs = model(inputs["inputs"])
            loss = torch.nn.functional.cross_entropy(outputs, labels.long())
            return (loss, outputs) if return_outputs else loss

    compiled = train(classifier("keras"), gradient_accumulation_steps=2)
    assert_same(train(classifier("keras"), Own, gradient_accumulation_steps=2), compiled, rtol=1e-4, atol=1e-5)


def of_tokens() -> keras.Model:
    keras.utils.set_random_seed(0)
    ids = keras.Input((6,), dtype="int64", name="input_ids")
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(ids))
    model = keras.Model({"input_ids": ids}, keras.layers.Dense(2)(hidden))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.main_input_name = "input_ids"
    return model


@needs_transformers
def test_a_dataset_is_trained_on_evaluated_and_shown_without_tensorflow():
    random = np.random.default_rng(0)
    rows = {"input_ids": random.integers(0, 20, (22, 6)).tolist(), "label": random.integers(0, 2, 22).tolist()}
    data = datasets.Dataset.from_dict(rows)
    table = WandbEvalTable(data, num_samples=3)
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "eval_strategy": "epoch", "disable_tqdm": True}
    args = TFTrainingArguments("out", **options, save_strategy="no", include_num_input_tokens_seen=True)
    trainer = TFTrainer(
        of_tokens(),
        args,
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=lambda found: {"agreed": np.mean(found.predictions.argmax(-1) == found.label_ids)},
        callbacks=[table],
    )
    assert trainer.train().metrics["num_input_tokens_seen"] == 2 * 22 * 6
    metrics = trainer.evaluate()
    assert metrics["eval_agreed"] == pytest.approx(metrics["eval_accuracy"])
    assert trainer.predict(data).predictions.shape == (22, 2)
    assert (trainer.args.n_gpu, trainer.args.device, trainer.args.train_batch_size) == (0, "CPU:0", 4)
    with pytest.raises(MissingPackageError, match="strategy needs tensorflow"):
        _ = trainer.args.strategy
    assert sum("sample_predictions" in row for row in history(finish())) == 2
    assert "tensorflow" not in sys.modules


@needs_transformers
@pytest.mark.parametrize("setting", ["xla", "tf32"])
def test_settings_of_other_backends_are_refused(setting):
    with pytest.raises(SettingError, match=setting):
        train(classifier("keras"), **{setting: True})


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_an_export_is_refused():
    with pytest.raises(SettingError, match="KERAS_BACKEND"):
        export_for_serving(classifier("keras"), "served")
    assert not pathlib.Path("served").exists()
