"""Optimizers by the formulas of PyTorch and transformers, in NumPy's float64; and the same with those of this package.

What is updated has shapes and names as in a model, and gradients as small as real ones: epsilon shows there.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import numpy as np
import tiny

from tf_hfwb import TFTrainingArguments
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.optimization.optimizer_choice import create_optimizer

STEPS = 20
SHAPES = {
    "dense/kernel": (6, 4),
    "dense/bias": (4,),
    "conv/kernel": (3, 3, 2, 4),
    "embed/embeddings": (7, 3),
    "norm/gamma": (3,),
}
DECAYING = {"dense/kernel", "conv/kernel", "embed/embeddings"}


class Case(NamedTuple):
    """The arguments of a training, what PyTorch is asked for, and the highest rate."""

    options: dict
    pytorch: str
    peak: float = 0.05

    @property
    def rates(self) -> list[float]:
        return [self.peak * min(step / 4, (STEPS + 1 - step) / (STEPS - 3)) for step in range(1, STEPS + 1)]

    @property
    def decay(self) -> float:
        return self.options.get("weight_decay", 0.0)


_ADAFACTOR = "transformers.Adafactor(groups, lr=1.0, scale_parameter=False, relative_step=False"
CASES = {
    "adamw": Case(
        {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6, "weight_decay": 0.3},
        "torch.optim.AdamW(groups, lr=1.0, betas=(0.8, 0.95), eps=1e-6)",
    ),
    "adamw_default": Case({"optim": "adamw_torch_fused"}, "torch.optim.AdamW(groups, lr=1.0)"),
    "sgd": Case({"optim": "sgd", "weight_decay": 1e-5}, "torch.optim.SGD(groups, lr=1.0)", 500.0),
    "sgd_momentum": Case(
        {"optim": "sgd", "optim_args": "momentum=0.9, dampening=0.5", "weight_decay": 1e-5},
        "torch.optim.SGD(groups, lr=1.0, momentum=0.9, dampening=0.5)",
        500.0,
    ),
    "sgd_nesterov": Case(
        {"optim": "sgd", "optim_args": "momentum=0.9,nesterov=True"},
        "torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)",
        500.0,
    ),
    "adagrad": Case(
        {"optim": "adagrad", "weight_decay": 1e-5, "optim_args": "eps=1e-7,lr_decay=0.1"},
        "torch.optim.Adagrad(groups, lr=1.0, eps=1e-7, lr_decay=0.1)",
    ),
    "rmsprop": Case({"optim": "rmsprop", "weight_decay": 1e-5}, "torch.optim.RMSprop(groups, lr=1.0)"),
    "rmsprop_centered": Case(
        {"optim": "rmsprop", "optim_args": "alpha=0.9,eps=1e-6,momentum=0.5,centered=True"},
        "torch.optim.RMSprop(groups, lr=1.0, alpha=0.9, eps=1e-6, momentum=0.5, centered=True)",
    ),
    "adafactor": Case({"optim": "adafactor", "weight_decay": 0.3}, f"{_ADAFACTOR})"),
    "adafactor_momentum": Case(
        {"optim": "adafactor", "optim_args": "beta1=0.5,clip_threshold=0.5,decay_rate=-0.6"},
        f"{_ADAFACTOR}, beta1=0.5, clip_threshold=0.5, decay_rate=-0.6)",
    ),
}


def to_pytorch(name: str, array: np.ndarray) -> np.ndarray:
    """The array in PyTorch's layout."""
    if name == "dense/kernel":
        return array.T
    return array.transpose(3, 2, 0, 1) if name == "conv/kernel" else array


def initial_values() -> dict[str, np.ndarray]:
    dice = np.random.default_rng(1)
    return {name: dice.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}


def gradients(step: int) -> dict[str, np.ndarray]:
    """Those of a step: from 1e-8 to 1e-4, and of some rows of the embedding none."""
    dice = np.random.default_rng(100 + step)
    sizes = dict(zip(SHAPES, [1e-5, 1e-6, 1e-7, 1e-4, 1e-8], strict=True))
    found = {name: (sizes[name] * dice.normal(size=shape)).astype("float32") for name, shape in SHAPES.items()}
    found["embed/embeddings"][step % 5 :: 3] = 0.0
    return found


def as_slices(gradient: np.ndarray):
    """The gradient of an embedding as TensorFlow gives it: rows that were looked up twice are there twice."""
    import tensorflow as tf

    rows = np.flatnonzero(gradient.any(axis=1))
    rows = np.concatenate([rows, rows[:2]])
    values = gradient[rows]
    values[:2] *= 0.25
    values[-2:] *= 0.75
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant(gradient.shape))


def trained(package: str, case: Case, *, slices: bool = False, limit: float = 0.0) -> dict[str, np.ndarray]:
    """The values after all steps with the optimizer that the arguments describe; a limit clips gradients."""
    keras = importlib.import_module(package)
    variables = {}
    for name, value in initial_values().items():
        if package == "keras":
            with keras.name_scope(name.partition("/")[0]):
                variables[name] = keras.Variable(value, dtype="float32", name=name.partition("/")[2])
        else:
            variables[name] = importlib.import_module("tensorflow").Variable(value, name=name)

    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            ops = host.ops
            step = ops.cast(step, "float32") + 1.0
            rising, falling = step / 4.0, (STEPS + 1.0 - step) / (STEPS - 3.0)
            return case.peak * ops.where(rising < falling, rising, falling)

    host = host_of(tiny.functional(package))
    args = TFTrainingArguments(report_to="none", max_grad_norm=limit, **case.options)
    optimizer = create_optimizer(host, args, Schedule())
    for step in range(STEPS):
        pairs = []
        for name, gradient in gradients(step).items():
            is_sliced = slices and name == "embed/embeddings"
            tensor = as_slices(gradient) if is_sliced else host.ops.cast(gradient, "float32")
            pairs.append((tensor, variables[name]))
        optimizer.apply_gradients(pairs)
    return {name: np.asarray(variable) for name, variable in variables.items()}


def trained_by_hand(case: str, *, limit: float = 0.0) -> dict[str, np.ndarray]:
    """The same by formulas."""
    options, rates = CASES[case].options, CASES[case].rates
    step_by = {"adamw": adamw, "sgd": sgd, "adagrad": adagrad, "rmsprop": rmsprop, "adafactor": adafactor}
    update = step_by[case.partition("_")[0]]
    settings = dict(part.split("=") for part in options.get("optim_args", "").replace(" ", "").split(",") if part)
    settings |= {name: options[name] for name in ("adam_beta1", "adam_beta2", "adam_epsilon") if name in options}
    values = {name: to_pytorch(name, value).astype("float64") for name, value in initial_values().items()}
    states: dict[str, dict] = {name: {} for name in values}
    for step in range(STEPS):
        found = {name: to_pytorch(name, g).astype("float64") for name, g in gradients(step).items()}
        norm = np.sqrt(sum(np.sum(g**2) for g in found.values()))
        factor = min(1.0, limit / (norm + 1e-6)) if limit else 1.0
        for name, g in found.items():
            decay = CASES[case].decay if name in DECAYING else 0.0
            values[name] = update(values[name], g * factor, states[name], step + 1, rates[step], decay, settings)
    return {name: to_tensorflow(name, value) for name, value in values.items()}


def to_tensorflow(name: str, array: np.ndarray) -> np.ndarray:
    if name == "dense/kernel":
        return array.T
    return array.transpose(2, 3, 1, 0) if name == "conv/kernel" else array


def adamw(p, g, state, step, rate, decay, settings):
    beta1, beta2 = settings.get("adam_beta1", 0.9), settings.get("adam_beta2", 0.999)
    state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g**2
    p = p * (1 - rate * decay)
    root = np.sqrt(state["v"] / (1 - beta2**step))
    return p - rate * state["m"] / (1 - beta1**step) / (root + settings.get("adam_epsilon", 1e-8))


def sgd(p, g, state, step, rate, decay, settings):
    momentum, dampening = float(settings.get("momentum", 0)), float(settings.get("dampening", 0))
    g = g + decay * p
    if momentum:
        state["m"] = momentum * state["m"] + (1 - dampening) * g if "m" in state else g
        g = g + momentum * state["m"] if settings.get("nesterov") == "True" else state["m"]
    return p - rate * g


def adagrad(p, g, state, step, rate, decay, settings):
    g = g + decay * p
    state["sum"] = state.get("sum", 0.0) + g**2
    rate = rate / (1 + (step - 1) * float(settings.get("lr_decay", 0)))
    return p - rate * g / (np.sqrt(state["sum"]) + float(settings.get("eps", 1e-10)))


def rmsprop(p, g, state, step, rate, decay, settings):
    alpha = float(settings.get("alpha", 0.99))
    g = g + decay * p
    state["v"] = alpha * state.get("v", 0.0) + (1 - alpha) * g**2
    state["g"] = alpha * state.get("g", 0.0) + (1 - alpha) * g
    variance = state["v"] - (state["g"] ** 2 if settings.get("centered") == "True" else 0.0)
    g = g / (np.sqrt(variance) + float(settings.get("eps", 1e-8)))
    state["m"] = float(settings.get("momentum", 0)) * state.get("m", 0.0) + g
    return p - rate * state["m"]


def adafactor(p, g, state, step, rate, decay, settings):
    beta2 = 1 - step ** float(settings.get("decay_rate", -0.8))
    square = g**2 + 1e-30
    if g.ndim < 2:
        state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * square
        change = g / np.sqrt(state["v"])
    else:
        state["r"] = beta2 * state.get("r", 0.0) + (1 - beta2) * square.mean(-1)
        state["c"] = beta2 * state.get("c", 0.0) + (1 - beta2) * square.mean(-2)
        rows = state["r"] / state["r"].mean(-1, keepdims=True)
        change = g / np.sqrt(rows[..., :, None] * state["c"][..., None, :])
    size = np.sqrt(np.mean(change**2)) / float(settings.get("clip_threshold", 1.0))
    change = rate * change / max(1.0, size)
    if "beta1" in settings:
        beta1 = float(settings["beta1"])
        change = state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * change
    return p * (1 - rate * decay) - change


def largest_difference(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest difference of a weight, as a share of the whole change of its tensor or of what float32 resolves."""
    begun = initial_values()
    worst = (0.0, "")
    for name, value in expected.items():
        change = np.abs(value - begun[name]).max()
        resolved = STEPS * np.finfo("float32").eps * np.abs(begun[name]).max()
        difference = np.abs(found[name] - value).max()
        worst = max(worst, (float(difference / (1e-5 * change + resolved)), name))
    return worst
