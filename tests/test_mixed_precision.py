"""Training and evaluation in 16 bits, of models that were made in float32."""

from __future__ import annotations

import importlib
import json
import zipfile

import numpy as np
import pytest
import tf_keras
import tiny
from helpers import nightly, python, samples

from tf_hfwb import TFTrainer, TFTrainingArguments, load_model
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of

MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "distilbert": (tiny.distilbert, tiny.tagged),
    "gpt2": (tiny.gpt2, tiny.next_words),
    "t5": (tiny.t5, tiny.answered),
    "vit": (tiny.vit, tiny.pictures),
    "tf_keras": (lambda: tiny.functional("tf_keras"), lambda: tiny.named(samples(11))),
    "keras": (lambda: tiny.functional("keras"), lambda: tiny.named(samples(11))),
}
HALVES = {"fp16": "float16", "bf16": "bfloat16"}


def layers_of(model) -> list:
    inner = [model, *getattr(model, "submodules", [])]
    return inner if host_of(model).package == "tf_keras" else list(model._flatten_layers())


class SeenTypes:
    """A callback of either Keras that notes in which types the layers compute while they train."""

    def __init__(self, package: str):
        self.seen: set[str] = set()
        seen = self.seen

        class Look(importlib.import_module(package).callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                seen.update(str(layer.compute_dtype) for layer in layers_of(self.model) if hasattr(layer, "call"))

        self.callback = Look()


def trainer_of(model, data, *, callbacks=(), compute_metrics=None, **options) -> TFTrainer:
    defaults = {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "learning_rate": 1e-3,
        "max_steps": 4,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )


def weights_of(model) -> np.ndarray:
    return np.concatenate([np.asarray(weight, "float64").ravel() for weight in model.trainable_variables])


OFTEN = [("tf_keras", "fp16"), ("keras", "bf16")]
# It masks with -1e9, which is an infinity in float16: no loss of it is a number.
IMPOSSIBLE = [("t5", "fp16")]
SELDOM = [nightly(name, half) for name in MODELS for half in HALVES if (name, half) not in (*OFTEN, *IMPOSSIBLE)]


@pytest.mark.parametrize(("name", "half"), [*OFTEN, *SELDOM])
def test_models_train_in_16_bits(name, half):
    make, data = MODELS[name]
    reference = trainer_of(make(), data())
    losses = {"float32": reference.train().training_loss}
    model = make()
    types = SeenTypes(host_of(model).package)
    trainer = trainer_of(model, data(), callbacks=[types.callback], **{half: True})
    losses[half] = trainer.train().training_loss
    assert HALVES[half] in types.seen
    assert losses[half] == pytest.approx(losses["float32"], rel=3e-2)
    assert losses[half] != losses["float32"]
    assert not np.array_equal(weights_of(model), weights_of(reference.model))
    np.testing.assert_allclose(weights_of(model), weights_of(reference.model), atol=1e-2)
    assert ("LossScale" in type(model.optimizer).__name__) == (half == "fp16")
    # Afterwards the model is as it was given.
    assert {str(weight.dtype) for weight in model.weights} <= {"float32", "<dtype: 'float32'>", "int64", "<dtype: 'in"}
    assert {layer.compute_dtype for layer in layers_of(model) if hasattr(layer, "call")} <= {"float32", None}
    assert model.predict_function is None


@pytest.mark.nightly
@pytest.mark.parametrize("half", ["bf16", nightly("fp16")])
@pytest.mark.parametrize("name", ["bert", "keras", nightly("gpt2"), nightly("tf_keras")])
def test_metrics_are_computed_of_float32(name, half):
    make, data = MODELS[name]
    types = []

    def note(prediction):
        types.append(prediction.predictions.dtype)
        return {"mean": float(np.mean(prediction.predictions))}

    arguments = {"eval_strategy": "steps", "eval_steps": 2, half: True}
    trainer = trainer_of(make(), data(), compute_metrics=note, **arguments)
    trainer.train()
    within = trainer.evaluate()
    assert types == [np.dtype("float32")] * 3
    full = trainer_of(trainer.model, data(), compute_metrics=note, **{f"{half}_full_eval": True})
    in_half = full.evaluate()
    assert types[-1] == "float32"
    assert in_half["eval_loss"] == pytest.approx(within["eval_loss"], rel=3e-2)
    assert in_half["eval_loss"] != within["eval_loss"]
    assert full.predict(data()).predictions.dtype == "float32"
    assert trainer.evaluate()["eval_loss"] == within["eval_loss"]


@pytest.mark.nightly
@pytest.mark.parametrize("half", ["fp16", nightly("bf16")])
@pytest.mark.parametrize("name", ["bert", nightly("tf_keras"), "keras"])
def test_a_training_in_16_bits_resumes_where_it_stopped(name, half):
    make, data = MODELS[name]
    options = {"save_strategy": "steps", "save_steps": 3, "seed": 7, half: True}
    straight = trainer_of(make(), data(), max_steps=6, output_dir="straight", **options)
    straight.train()
    resumed = trainer_of(make(), data(), max_steps=6, output_dir="out", **options)
    resumed.train(resume_from_checkpoint="straight/checkpoint-3")
    np.testing.assert_array_equal(weights_of(resumed.model), weights_of(straight.model))


@pytest.mark.parametrize("package", ["tf_keras", nightly("keras")])
def test_saved_models_compute_in_float32(package):
    model = tiny.functional(package)
    trainer_of(model, tiny.named(samples(11)), save_strategy="steps", save_steps=2, fp16=True, output_dir="out").train()
    for archive in ("out/checkpoint-2/model.keras", "out/checkpoint-4/model.keras"):
        config = zipfile.ZipFile(archive).read("config.json").decode()
        assert "float16" not in config
        assert json.loads(config)
    loaded = load_model("out/checkpoint-4")
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    x = samples(5)[0]
    np.testing.assert_array_equal(np.asarray(loaded({"x": x})), np.asarray(model({"x": x})))


class Stubborn(tf_keras.layers.Layer):
    """A layer that keeps its weights in a list, where nobody finds them."""

    def build(self, shape):
        self.kernels = [self.add_weight(name="kernel", shape=(shape[-1], 3))]

    def call(self, inputs):
        return inputs @ self.kernels[0]


def stubborn_model():
    tf_keras.utils.set_random_seed(0)
    x = tf_keras.Input((4,), name="x")
    hidden = Stubborn()(x)
    model = tf_keras.Model({"x": x}, tf_keras.layers.Dense(3)(hidden))
    model.compile(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_a_model_that_cannot_is_refused_before_it_trains():
    model = stubborn_model()
    before = weights_of(model)
    message = r"fp16=True cannot be used\. Expected False with Functional.*\(.*float.*\)\. Call keras.mixed_precision"
    with pytest.raises(SettingError, match=message):
        trainer_of(model, tiny.named(samples(11)), fp16=True).train()
    np.testing.assert_array_equal(weights_of(model), before)
    assert trainer_of(model, tiny.named(samples(11))).train().global_step == 4


@pytest.mark.parametrize("name", ["fp16", nightly("fp16_full_eval")])
def test_a_model_that_multiplies_by_infinity_is_refused(name):
    trainer = trainer_of(tiny.t5(), tiny.answered(), **{name: True})
    before = weights_of(trainer.model)
    message = rf"{name}=True cannot be used\. Expected False with TFT5.* would be NaN\. Use bf{name[2:]}=True"
    with pytest.raises(SettingError, match=message):
        trainer.train() if name == "fp16" else trainer.evaluate()
    np.testing.assert_array_equal(weights_of(trainer.model), before)


REPLICATED = """
import tensorflow as tf
import tiny
from tf_hfwb import TFTrainer, TFTrainingArguments

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = tiny.t5()
args = TFTrainingArguments("out", fp16=True, report_to="none")
TFTrainer(model, args, train_dataset=tiny.answered(), processing_class=tiny.tokenizer()).train()
"""


@pytest.mark.nightly
def test_it_is_refused_on_several_devices():
    assert "Use bf16=True" in python("-c", REPLICATED, check=False).stderr


ARCHITECTURES = {
    **{name.lower(): lambda name=name: tiny.classifier(name) for name in ("Albert", "Electra", "MPNet", "ConvBert")},
    "deberta": tiny.deberta,
    "deberta_v2": lambda: tiny.deberta("DebertaV2"),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_rows_are_the_same_in_float16(name):
    trainer = trainer_of(ARCHITECTURES[name](), tiny.classified(), fp16_full_eval=True)
    expected = trainer_of(trainer.model, tiny.classified()).evaluate()["eval_loss"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("names", [("fp16", "bf16"), ("fp16_full_eval", "bf16_full_eval")])
def test_both_at_once_are_refused(names):
    with pytest.raises(SettingError, match=rf"{names[0]}=True cannot be used\. Expected False with {names[1]}=True"):
        TFTrainingArguments(**dict.fromkeys(names, True))


def test_a_subclassed_model_without_weights_trains_in_16_bits():
    class Network(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.logits = tf_keras.layers.Dense(8, activation="tanh"), tf_keras.layers.Dense(3)

        def call(self, inputs):
            return self.logits(self.hidden(inputs["x"]))

    model = Network()
    model.compile(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    types = SeenTypes("tf_keras")
    trainer = trainer_of(model, tiny.named(samples(11)), callbacks=[types.callback], bf16=True)
    assert np.isfinite(trainer.train().training_loss)
    assert "bfloat16" in types.seen
    assert trainer.predict(tiny.named(samples(5))).predictions.dtype == "float32"
