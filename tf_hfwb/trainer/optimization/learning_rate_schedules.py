"""The learning-rate schedules of transformers, for either Keras."""

from __future__ import annotations

import math
from typing import Any

from tf_hfwb.keras_compat import Host


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
