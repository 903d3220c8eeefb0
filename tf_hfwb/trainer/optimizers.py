"""The optimizer and the schedule that training arguments describe, for either Keras."""

from __future__ import annotations

import math
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.constructor_checks import check_same_keras

# Patterns for names of variables. In tf_keras a name is the whole path, in Keras 3 only the last part of it.
_NOT_DECAYED = [r"bias", r"[Ll]ayer_?[Nn]orm", r"[Rr][Mm][Ss]_?[Nn]orm", r"gamma", r"beta", r"\bln_", r"\bscale\b"]


def create_schedule(host: Host, kind: str, peak: float, warmup_steps: int, total_steps: int) -> Any:
    """A learning-rate schedule of the model's own Keras, with the values of transformers' schedules.

    Args:
        host: The model.
        kind: ``"linear"``, ``"cosine"``, ``"constant"`` or ``"constant_with_warmup"``.
        peak: The highest rate.
        warmup_steps: Steps over which the rate rises from 0.
        total_steps: The step at which ``"linear"`` and ``"cosine"`` reach 0.

    Returns:
        A ``LearningRateSchedule``, or ``peak`` itself for ``"constant"``.

    Follows ``transformers.get_scheduler``.
    """
    if kind == "constant":
        return peak
    ops = host.ops

    class WarmupSchedule(host.keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc, name-defined]
        def __call__(self, step: Any) -> Any:
            step = ops.cast(step, "float32")
            warmup_factor = step / max(1, warmup_steps)
            decay_steps = max(1, total_steps - warmup_steps)
            if kind == "linear":
                factor = ops.clip((total_steps - step) / decay_steps, 0.0, 1.0)
            elif kind == "cosine":
                progress = ops.clip((step - warmup_steps) / decay_steps, 0.0, 1.0)
                factor = 0.5 * (1.0 + ops.cos(math.pi * progress))
            else:
                factor = 1.0
            return peak * ops.where(step < warmup_steps, warmup_factor, factor)

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


def check_created(host: Host, optimizer: Any, schedule: Any) -> None:
    """Refuse what overridden methods made that cannot train the model.

    Args:
        host: The model.
        optimizer: ``trainer.optimizer`` after them.
        schedule: ``trainer.lr_scheduler``.

    Raises:
        SettingError: There is no optimizer, it is of the other Keras, or it accumulates gradients.
    """
    if optimizer is None:
        raise SettingError(
            "optimizer",
            None,
            expected="an optimizer, which create_optimizer or create_optimizer_and_scheduler makes",
            advice="Set self.optimizer in the method that you have overridden.",
        )
    check_same_keras(host, "create_optimizer", "optimizers", (optimizer, schedule))
    if (getattr(optimizer, "gradient_accumulation_steps", None) or 1) > 1:
        raise SettingError(
            "create_optimizer",
            f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps}",
            expected="an optimizer that makes an update of each batch: the schedule's length was computed for that",
            advice="Pass such an optimizer as optimizers=(optimizer, None).",
        )


def follow_schedule(host: Host, optimizer: Any, schedule: Any) -> None:
    """Let an optimizer that was made with a constant rate follow a schedule; one that has a schedule keeps it.

    Args:
        host: The model.
        optimizer: The optimizer.
        schedule: A schedule of Keras, a constant rate, or None.
    """
    if callable(schedule) and host.constant_rate(optimizer) is not None:
        host.give_schedule(optimizer, schedule)
