"""Settings of TensorFlow: XLA, checks of numbers, TensorFloat-32, and GPUs that are left unused."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
import tiny
from helpers import KERASES, nightly, python, samples

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of


def trainer_of(model, data, **options) -> TFTrainer:
    defaults = {
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    tokenizer = tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None
    args = TFTrainingArguments(**{**defaults, **options})
    return TFTrainer(model, args, train_dataset=data, eval_dataset=data, processing_class=tokenizer)


MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "tf_keras": (lambda: tiny.functional("tf_keras"), lambda: tiny.named(samples(11))),
    "keras": (lambda: tiny.functional("keras"), lambda: tiny.named(samples(11))),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", MODELS)
def test_xla_compiles_the_train_step(name):
    make, data = MODELS[name]
    plain, compiled = trainer_of(make(), data()), trainer_of(make(), data(), xla=True)
    expected, found = plain.train().training_loss, compiled.train().training_loss
    assert found == pytest.approx(expected, rel=1e-5)
    assert compiled.model.jit_compile
    assert not plain.model.jit_compile


def dividing_model(package: str):
    """A model that divides by its first feature."""
    keras = importlib.import_module(package)
    x = keras.Input((4,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(3)(1.0 / x))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("package", KERASES)
def test_debugging_stops_at_the_first_number_that_is_none(package):
    x, y = samples(12)
    trainer_of(dividing_model(package), tiny.named((x, y)), debug="underflow_overflow").train()
    x[5] = 0.0
    with pytest.raises(tf.errors.InvalidArgumentError, match="Inf"):
        trainer_of(dividing_model(package), tiny.named((x, y)), debug="underflow_overflow").train()
    assert not np.isfinite(trainer_of(dividing_model(package), tiny.named((x, y))).train().training_loss)


HEALTHY = {
    "t5": lambda: tiny.t5(dropout=0.1),
    "mpnet": lambda: tiny.classifier("MPNet"),
    "deberta": tiny.deberta,
    "deberta_v2": lambda: tiny.deberta("DebertaV2"),
}


@pytest.mark.parametrize("name", ["t5", *(nightly(name) for name in HEALTHY if name != "t5")])
def test_debugging_lets_infinities_be_that_a_model_leaves_out_again(name):
    """T5 takes the logarithm of a distance of 0; DeBERTa masks with -inf."""
    model = HEALTHY[name]()
    ids = np.array([[2, 5, 6, 3], [2, 7, 3, 0]])
    inputs = {"input_ids": ids, "attention_mask": np.sign(ids), **({"labels": ids} if name == "t5" else {})}
    with host_of(model).checks_of_numbers():
        model(inputs, training=True)
        model.get_input_embeddings().weights[0].assign(np.full((tiny.VOCAB_SIZE, 16), np.nan))
        with pytest.raises(tf.errors.InvalidArgumentError, match="NaN"):
            model(inputs, training=True)
    model(inputs, training=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"debug": "tpu_metrics_debug"},
            "debug='tpu_metrics_debug' cannot be used. Expected '' or 'underflow_overflow'",
        ),
        (
            {"debug": "underflow_overflow", "fp16": True},
            "debug='underflow_overflow' cannot be used. Expected '' with fp",
        ),
        (
            {"debug": "underflow_overflow", "xla": True},
            "debug='underflow_overflow' cannot be used. Expected '' with xla",
        ),
        ({"tf32": 1}, "tf32=1 cannot be used. Expected True, False, or None"),
    ],
)
def test_what_cannot_be_set_is_refused(values, message):
    with pytest.raises(SettingError) as error:
        TFTrainingArguments(**values)
    assert str(error.value).startswith(message)


def test_tf32_is_that_of_tensorflow():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    before = enabled()
    try:
        TFTrainingArguments()
        assert enabled() == before
        for value in (False, True):
            TFTrainingArguments(tf32=value)
            assert enabled() == value
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


SCRIPT = """
from tf_hfwb import TFTrainingArguments
args = TFTrainingArguments({argument}=True)
import tensorflow as tf
print(tf.config.get_visible_devices("GPU"), len(tf.config.get_visible_devices("CPU")))
"""


@pytest.mark.parametrize("argument", ["use_cpu", nightly("no_cuda")])
def test_gpus_are_left_unused(argument):
    assert python("-c", SCRIPT.format(argument=argument)).stdout.split() == ["[]", "1"]


def test_gpus_that_are_in_use_cannot_be_hidden(monkeypatch):
    def refuse(devices, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    TFTrainingArguments(use_cpu=True)  # There are none.
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["a GPU"])
    with pytest.raises(SettingError, match=r"use_cpu=True .* TensorFlow uses a GPU already\. Make TFTrainingArguments"):
        TFTrainingArguments(use_cpu=True)
