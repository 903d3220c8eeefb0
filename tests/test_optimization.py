"""Schedules and AdamW against the formulas of transformers and PyTorch, written by hand."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import tiny
from helpers import KERASES, finish, history, nightly, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.optimization.learning_rate_schedules import create_schedule
from tf_hfwb.trainer.optimization.optimizer_choice import create_optimizer


def rate_by_hand(kind: str, step: int, warmup: int, total: int) -> float:
    """The factor of ``transformers.get_scheduler`` at a step."""
    if kind == "constant":
        return 1.0
    if step < warmup:
        return step / max(1, warmup)
    if kind == "constant_with_warmup":
        return 1.0
    if kind == "linear":
        return max(0.0, (total - step) / max(1, total - warmup))
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))))


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "constant_with_warmup"])
@pytest.mark.parametrize("package", KERASES)
def test_schedules(package, kind):
    host = host_of(tiny.functional(package))
    for warmup in (0, 1, 4, 10):
        schedule = create_schedule(host, kind, 0.3, warmup, 10, {"power": 1.0, "num_cycles": 0.5})
        rates = [float(schedule(step)) if callable(schedule) else schedule for step in range(11)]
        expected = [0.3 * rate_by_hand(kind, step, warmup, 10) for step in range(11)]
        np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7, err_msg=f"warmup {warmup}")


@pytest.mark.parametrize(
    ("kind", "options", "warmup"),
    [
        ("linear", {"warmup_ratio": 0.3}, 4),  # 0.3 of 11 steps, rounded up
        ("cosine", {"warmup_steps": 2, "warmup_ratio": 0.9}, 2),
        nightly("constant", {}, 0),
    ],
)
@pytest.mark.parametrize("package", ["tf_keras", nightly("keras")])
def test_the_rate_of_each_step_is_logged(package, kind, options, warmup):
    args = TFTrainingArguments(
        learning_rate=0.01, lr_scheduler_type=kind, max_steps=11, logging_steps=1, disable_tqdm=True, **options
    )
    TFTrainer(tiny.functional(package), args, train_dataset=tiny.named(samples(40))).train()
    rates = [row["train/learning_rate"] for row in train_rows(history(finish()))]
    expected = [0.01 * rate_by_hand(kind, step, warmup, 11) for step in range(11)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-9)


def variables(package: str, values: list[list[float]]):
    if package == "keras":
        keras = importlib.import_module("keras")
        return [keras.Variable(value, dtype="float32", name="kernel") for value in values]
    tf = importlib.import_module("tensorflow")
    return [tf.Variable(value, dtype="float32", name="kernel") for value in values]


def optimizer_for(package: str, **options):
    args = TFTrainingArguments(**{"weight_decay": 0.0, "max_grad_norm": 0.0, **options})
    return create_optimizer(host_of(tiny.functional(package)), args, args.learning_rate)


def adamw_by_hand(value, gradients, rate, beta1, beta2, epsilon, decay):
    """AdamW as PyTorch documents it."""
    mean = square = np.zeros_like(value)
    for step, gradient in enumerate(gradients, start=1):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        value = value - rate * decay * value
        value = value - rate * (mean / (1 - beta1**step)) / (np.sqrt(square / (1 - beta2**step)) + epsilon)
    return value


@pytest.mark.parametrize("package", KERASES)
def test_steps_are_those_of_adamw(package):
    random = np.random.default_rng(0)
    value, gradients = random.normal(size=(3, 2)), random.normal(size=(5, 3, 2))
    (variable,) = variables(package, [value])
    optimizer = optimizer_for(package, learning_rate=0.05, adam_beta1=0.8, adam_beta2=0.9, weight_decay=0.3)
    for gradient in gradients:
        optimizer.apply_gradients([(np.asarray(gradient, "float32") + 0 * variable, variable)])
    expected = adamw_by_hand(value, gradients, 0.05, 0.8, 0.9, 1e-8, 0.3)
    np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("max_grad_norm", "clipped"),
    [(1.0, ([0.6], [0.8])), (2.5, ([1.5], [2.0])), (10.0, ([3.0], [4.0])), (0.0, ([3.0], [4.0]))],
)
@pytest.mark.parametrize("package", KERASES)
def test_gradients_are_clipped_to_their_common_norm(package, max_grad_norm, clipped):
    both = variables(package, [[0.0], [0.0]])
    # Without momentum and with an epsilon of 1 a step is g / (|g| + 1), so that the size of g shows.
    options = {"adam_beta1": 0.0, "adam_beta2": 0.0, "adam_epsilon": 1.0, "learning_rate": 1.0}
    optimizer = optimizer_for(package, max_grad_norm=max_grad_norm, **options)
    optimizer.apply_gradients([(0 * both[0] + 3.0, both[0]), (0 * both[1] + 4.0, both[1])])
    for variable, gradient in zip(both, clipped, strict=True):
        expected = -np.array(gradient) / (np.abs(gradient) + 1)
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-5)


def normalised(package: str):
    """Names of layers that say nothing of normalisation."""
    keras = importlib.import_module(package)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(4, name="a"),
            layers.LayerNormalization(name="b"),
            layers.BatchNormalization(name="c"),
        ]
    )


MODELS = {
    "bert": tiny.bert,
    "gpt2": tiny.gpt2,
    "t5": tiny.t5,
    "vit": tiny.vit,
    "tf_keras": lambda: tiny.functional("tf_keras"),
    "keras": lambda: tiny.functional("keras"),
    "tf_keras_names": lambda: normalised("tf_keras"),
    "keras_names": lambda: normalised("keras"),
}


@pytest.mark.parametrize("name", MODELS)
def test_biases_and_normalisation_do_not_decay(name):
    model = MODELS[name]()
    args = TFTrainingArguments(learning_rate=0.5, weight_decay=0.1, max_grad_norm=0.0)
    optimizer = create_optimizer(host_of(model), args, 0.5)
    weights = model.trainable_variables
    for weight in weights:
        weight.assign(0 * weight + 1.0)  # Biases begin as zeros, which decay to zeros.
    optimizer.apply_gradients([(0 * weight, weight) for weight in weights])
    decayed = set()
    for index, weight in enumerate(weights):
        # Kernels and embeddings are matrices; scales and shifts are vectors. GPT-2 keeps its biases as matrices.
        is_matrix = len(weight.shape) > 1 and "bias" not in weight.name
        decayed.add(is_matrix)
        expected = 1 - 0.5 * 0.1 if is_matrix else 1.0
        np.testing.assert_allclose(np.asarray(weight), expected, rtol=1e-6, err_msg=f"{index} {weight.name}")
    assert decayed == {True, False}
