"""Label smoothing against the formula of transformers' LabelSmoother, written by hand, and against the class itself."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import KERASES, finish, history, nightly, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import smooth_labels

FACTOR = 0.2
MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "distilbert": (tiny.distilbert, tiny.tagged),
    "gpt2": (tiny.gpt2, tiny.next_words),
    "t5": (tiny.t5, tiny.answered),
    "vit": (tiny.vit, tiny.pictures),
}


def smoothed_loss(logits: np.ndarray, labels: np.ndarray, factor: float) -> float:
    """The mean over labels that are not -100."""
    logits = logits.astype(np.float64)
    peak = logits.max(axis=-1, keepdims=True)
    log_probabilities = logits - peak - np.log(np.exp(logits - peak).sum(axis=-1, keepdims=True))
    active = labels != -100
    of_label = np.take_along_axis(log_probabilities, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    losses = -(1 - factor) * of_label - factor * log_probabilities.mean(axis=-1)
    return float(losses[active].mean())


def trainer_of(model, data, **options) -> TFTrainer:
    defaults = {
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 16,  # One batch.
        "learning_rate": 1e-3,
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "label_smoothing_factor": FACTOR,
    }
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer(),
    )


def aligned(name: str, prediction) -> tuple[np.ndarray, np.ndarray]:
    """Logits and the labels that they are compared with."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    labels = prediction.label_ids
    return (logits[:, :-1], labels[:, 1:]) if name == "gpt2" else (logits, labels)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name if name in ("bert", "t5") else nightly(name) for name in MODELS])
def test_losses_are_smoothed_in_training_and_evaluation(name):
    make, data = MODELS[name]
    trainer = trainer_of(make(), data(), report_to="wandb")
    found = trainer.predict(data())
    expected = smoothed_loss(*aligned(name, found), FACTOR)
    assert found.metrics["test_loss"] == pytest.approx(expected, rel=1e-5)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)
    plain = trainer_of(make(), data(), label_smoothing_factor=0.0).evaluate()["eval_loss"]
    assert plain == pytest.approx(smoothed_loss(*aligned(name, found), 0.0), rel=1e-5)
    assert abs(plain - expected) > 1e-4
    trainer.train()
    first, second = (row["train/loss"] for row in train_rows(history(finish())))
    assert first == pytest.approx(expected, rel=1e-5)
    assert second < first


def test_labels_without_a_loss_do_not_count():
    model, logits = tiny.bert(), np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    assert smooth_labels(model, FACTOR)
    assert not smooth_labels(model, FACTOR)
    labels = np.array([-100, 2, 0, -100])
    losses = np.asarray(model.hf_compute_loss(labels=tf.constant(labels), logits=tf.constant(logits)))
    assert losses.shape == (4,)  # Of each sample, which may have a weight.
    assert losses[[0, 3]].tolist() == [0, 0]
    assert losses.mean() == pytest.approx(smoothed_loss(logits, labels, FACTOR), rel=1e-5)


SMOOTHER = """
import json, sys, torch
from transformers.trainer_pt_utils import LabelSmoother
logits, labels, factor, is_causal = json.load(sys.stdin)
loss = LabelSmoother(epsilon=factor)({"logits": torch.tensor(logits)}, torch.tensor(labels), shift_labels=is_causal)
print(float(loss))
"""


@pytest.mark.parametrize("name", [name if name == "gpt2" else nightly(name) for name in MODELS])
def test_the_loss_is_that_of_label_smoother(name):
    interpreter = os.environ.get("TF_HFWB_TORCH_PYTHON")
    if not interpreter:
        pytest.skip("TF_HFWB_TORCH_PYTHON names no Python with PyTorch and transformers")
    make, data = MODELS[name]
    found = trainer_of(make(), data()).predict(data())
    logits = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
    given = json.dumps([logits.tolist(), found.label_ids.tolist(), FACTOR, name == "gpt2"])
    command = [interpreter, "-c", SMOOTHER]
    finished = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert found.metrics["test_loss"] == pytest.approx(float(finished.stdout), rel=1e-5)


def test_another_trainer_of_the_same_model_has_its_own_factor():
    model, data = tiny.bert(), tiny.classified()
    smoothing = trainer_of(model, data)
    smoothed = smoothing.evaluate()["eval_loss"]
    plain = trainer_of(model, data, label_smoothing_factor=0.0)
    assert plain.evaluate()["eval_loss"] != smoothed
    assert smoothing.evaluate()["eval_loss"] == smoothed


@pytest.mark.nightly
def test_smoothing_in_16_bits():
    model, data = tiny.bert(), tiny.classified()
    expected = trainer_of(model, data).evaluate()["eval_loss"]
    in_half = trainer_of(model, data, bf16_full_eval=True, bf16=True, learning_rate=0.0)
    assert in_half.evaluate()["eval_loss"] == pytest.approx(expected, rel=2e-2)
    assert in_half.train().training_loss == pytest.approx(expected, rel=2e-2)
    assert trainer_of(model, data).evaluate()["eval_loss"] == expected


def question_answering():
    return tiny.of_bert(transformers.TFBertForQuestionAnswering)


def regression():
    return tiny.bert(num_labels=1)


def own_loss():
    model = tiny.bert()
    model.compile(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("make", [question_answering, regression, own_loss])
def test_models_without_such_a_loss_are_refused(make):
    with pytest.raises(SettingError, match=r"label_smoothing_factor=0.2 cannot be used\. Expected 0.0 with TFBert"):
        trainer_of(make(), tiny.classified())


@pytest.mark.parametrize("package", KERASES)
def test_plain_models_are_refused_with_the_way_out(package):
    with pytest.raises(SettingError, match=r"Compile the model with a loss that smooths, .*label_smoothing=0.2\)\."):
        trainer_of(tiny.functional(package), tiny.named(samples(11)))


@pytest.mark.parametrize("factor", [-0.1, 1.0, "x"])
def test_a_factor_is_a_share(factor):
    with pytest.raises(SettingError, match=r"label_smoothing_factor=.* Expected a number from 0 to below 1"):
        TFTrainingArguments(label_smoothing_factor=factor)
