"""The optimizer and the schedule that training arguments describe, for either Keras."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host
from tf_hfwb.trainer.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")

# Searched in the names of variables. tf_keras names a variable by its path, Keras 3 by its last part.
_NOT_DECAYED = [r"bias", r"[Ll]ayer_?[Nn]orm", r"[Rr][Mm][Ss]_?[Nn]orm", r"gamma", r"beta", r"\bln_", r"\bscale\b"]


def check_of_same_keras(host: Host, optimizer: Any, schedule: Any) -> None:
    """Refuse an optimizer, a schedule, or metrics that the model was compiled with, of the other Keras.

    Raises:
        SettingError: One of them is.
    """
    given = [("optimizers", optimizer), ("optimizers", schedule)]
    compiled = getattr(getattr(host.model, "_compile_config", None), "config", None) or {}
    for argument in ("metrics", "weighted_metrics"):
        given += [(f"model.compile({argument})", one) for one in _flat(compiled.get(argument))]
    for name, value in given:
        packages = {base.__module__.partition(".")[0] for base in type(value).__mro__}
        if packages & {"keras", "tf_keras"} - {host.package}:
            module = "optimizers" if name == "optimizers" else "metrics"
            raise SettingError(
                name,
                f"{type(value).__module__}.{type(value).__qualname__}",
                expected=f"one of {host.package}, which the model belongs to",
                advice=f"Import {host.package} and take it from {host.package}.{module}.",
            )


def _flat(value: Any) -> list[Any]:
    """What is in nested lists and dicts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [one for each in value for one in _flat(each)]
    return [value]


def whole_steps(num_batches: int, accumulation: int) -> int:
    """The updates that so many batches make. Those that are left over for the last one make none, which is said.

    Args:
        num_batches: The batches of the whole training; Keras accumulates from one epoch into the next.
        accumulation: The batches of an update.

    Raises:
        SettingError: They make none at all.

    Example:
        >>> whole_steps(31, 1), whole_steps(30, 5)
        (31, 6)
    """
    steps, left_over = divmod(num_batches, accumulation)
    if not steps:
        raise SettingError(
            "gradient_accumulation_steps",
            accumulation,
            expected=f"{num_batches} at most, the number of batches of the whole training, or no update is ever made",
            advice="Accumulate less, or train longer.",
        )
    if left_over:
        _logger.warning(
            "The last %d of %d batches make no update: gradients are accumulated over %d. Expected a multiple of that "
            "to use all of them. The schedule ends with the last update, step %d.",
            left_over,
            num_batches,
            accumulation,
            steps,
        )
    return steps


def create_schedule(host: Host, kind: str, peak: float, warmup_steps: int, total_steps: int) -> Any:
    """A learning-rate schedule of the model's own Keras, with the values of transformers' schedules.

    Args:
        host: The model.
        kind: ``"linear"``, ``"cosine"``, ``"constant"`` or ``"constant_with_warmup"``.
        peak: The highest rate.
        warmup_steps: Steps over which the rate rises from 0.
        total_steps: The step at which ``"linear"`` and ``"cosine"`` reach 0.

    Returns:
        A ``LearningRateSchedule``, or ``peak`` itself when it is constant.

    Follows ``transformers.get_scheduler``.
    """
    if kind == "constant":
        return peak
    ops = host.ops

    class WarmupSchedule(host.keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc, name-defined]
        def __call__(self, step: Any) -> Any:
            step = ops.cast(step, "float32")
            rising = step / max(1, warmup_steps)
            span = max(1, total_steps - warmup_steps)
            if kind == "linear":
                then = ops.clip((total_steps - step) / span, 0.0, 1.0)
            elif kind == "cosine":
                then = 0.5 * (1.0 + ops.cos(math.pi * ops.clip((step - warmup_steps) / span, 0.0, 1.0)))
            else:
                then = 1.0
            return peak * ops.where(step < warmup_steps, rising, then)

        def get_config(self) -> dict[str, Any]:
            return {"kind": kind, "peak": peak, "warmup_steps": warmup_steps, "total_steps": total_steps}

    return WarmupSchedule()


def create_optimizer(host: Host, args: TFTrainingArguments, learning_rate: Any) -> Any:
    """AdamW of the model's own Keras, without decay of biases and normalisation weights.

    Args:
        host: The model.
        args: Decay, betas, epsilon and clipping.
        learning_rate: A rate or a schedule.

    Follows ``Trainer.create_optimizer`` of transformers.
    """
    with host.scope():
        optimizer = host.keras.optimizers.AdamW(
            learning_rate=learning_rate,
            weight_decay=args.weight_decay,
            beta_1=args.adam_beta1,
            beta_2=args.adam_beta2,
            epsilon=args.adam_epsilon,
            global_clipnorm=args.max_grad_norm or None,
        )
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer
