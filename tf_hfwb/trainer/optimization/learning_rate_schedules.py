"""The learning-rate schedules of transformers, for either Keras.

Each has a formula for the steps after the warm-up, and some have one for the warm-up. Rates are computed in the graph,
in float32. So the formulas are written without differences of numbers that are nearly equal: a cosine near its minimum
is the square of a small sine.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat import Host

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class _Schedule:
    """What the formulas are made of.

    Attributes:
        ops: The functions of tensors of the model's Keras.
        peak: The highest rate.
        warmup_steps: Steps of the warm-up.
        total_steps: Steps of the training.
        options: All options of the kind.
    """

    ops: Any
    peak: float
    warmup_steps: int
    total_steps: int
    options: Mapping[str, Any]

    @property
    def decay_steps(self) -> int:
        """Steps after the warm-up; at least one, to divide by."""
        return max(1, self.total_steps - self.warmup_steps)

    def remaining(self, step: Any) -> Any:
        """The share of the steps after the warm-up that is still to come."""
        return self.ops.clip((self.total_steps - step) / self.decay_steps, 0.0, 1.0)

    def cosine(self, progress: Any, steps: int) -> Any:
        """The cosine of ``num_cycles`` whole waves over so many steps, as a factor between 1 and 0."""
        place = (self.options["num_cycles"] * progress) % steps
        return self.ops.sin((2 * place - steps) * (0.5 * math.pi / steps)) ** 2

    def raised(self, factor: Any, least: float) -> Any:
        """A factor between 1 and 0 as one between 1 and ``least``."""
        return factor * (1.0 - least) + least

    @property
    def least(self) -> float:
        """The lowest factor of a cosine that ends above 0."""
        least_rate, least_factor = self.options["min_lr"], self.options["min_lr_rate"]
        return float(least_factor if least_rate is None else least_rate / self.peak)


Formula = Callable[[_Schedule, Any], Any]


def _linear(schedule: _Schedule, step: Any) -> Any:
    return schedule.remaining(step) ** schedule.options["power"]


def _polynomial(schedule: _Schedule, step: Any) -> Any:
    factor = schedule.remaining(step) ** schedule.options["power"]
    return schedule.raised(factor, schedule.options["lr_end"] / schedule.peak)


def _cosine(schedule: _Schedule, step: Any) -> Any:
    return schedule.cosine(step - schedule.warmup_steps, schedule.decay_steps)


def _cosine_with_restarts(schedule: _Schedule, step: Any) -> Any:
    steps = schedule.decay_steps
    place = (schedule.options["num_cycles"] * (step - schedule.warmup_steps)) % steps
    factor = schedule.ops.sin((steps - place) * (0.5 * math.pi / steps)) ** 2
    return schedule.ops.where(step < schedule.warmup_steps + steps, factor, 0.0)


def _constant(schedule: _Schedule, step: Any) -> Any:
    return 1.0


def _inverse_sqrt(schedule: _Schedule, step: Any) -> Any:
    timescale = schedule.options["timescale"] or schedule.warmup_steps or 10_000
    after = schedule.ops.clip(step - schedule.warmup_steps, 0.0, math.inf)
    return schedule.ops.sqrt(timescale / (timescale + after))


def _cosine_with_min_lr(schedule: _Schedule, step: Any) -> Any:
    return schedule.raised(_cosine(schedule, step), schedule.least)


def _early_cosine_with_min_lr(schedule: _Schedule, step: Any) -> Any:
    """Each step has the rate of the next one, for the first not to be 0."""
    return _cosine_with_min_lr(schedule, step + 1)


def _warmup_stable_decay(schedule: _Schedule, step: Any) -> Any:
    options = schedule.options
    decay_steps, stable_steps = options["num_decay_steps"], options["num_stable_steps"]
    if stable_steps is None:
        stable_steps = schedule.total_steps - schedule.warmup_steps - decay_steps
    after = step - (schedule.warmup_steps + stable_steps)
    progress = schedule.ops.clip(after / max(1, decay_steps), 0.0, 1.0)
    if options["decay_type"] == "linear":
        factor = (decay_steps - after) / max(1, decay_steps)
    elif options["decay_type"] == "cosine":
        factor = schedule.cosine(after, max(1, decay_steps))
    else:
        factor = (decay_steps - after) / max(1, decay_steps) / (1.0 + schedule.ops.sqrt(progress))
    factor = schedule.raised(factor, options["min_lr_ratio"])
    ended = schedule.ops.where(after < decay_steps, factor, options["min_lr_ratio"])
    return schedule.ops.where(after < 0, 1.0, ended)


def _linear_warmup(schedule: _Schedule, step: Any) -> Any:
    return step / max(1, schedule.warmup_steps)


def _early_warmup(schedule: _Schedule, step: Any) -> Any:
    begin = schedule.options["warmup_lr_rate"]
    if begin is None:
        return (step + 1.0) / max(1, schedule.warmup_steps)
    return schedule.raised(step / max(1, schedule.warmup_steps - 1), begin)


def _raised_warmup(schedule: _Schedule, step: Any) -> Any:
    progress = schedule.ops.clip(_linear_warmup(schedule, step), 0.0, 1.0)
    kind = schedule.options["warmup_type"]
    if kind == "cosine":
        progress = schedule.ops.sin(progress * (0.5 * math.pi)) ** 2
    elif kind == "1-sqrt":
        progress = progress / (1.0 + schedule.ops.sqrt(1.0 - progress))
    return schedule.raised(progress, schedule.options["min_lr_ratio"])


# By the name of the schedule: the formula after the warm-up, and that of the warm-up.
_FORMULAS: dict[str, tuple[Formula, Formula]] = {
    "linear": (_linear, _linear_warmup),
    "cosine": (_cosine, _linear_warmup),
    "cosine_with_restarts": (_cosine_with_restarts, _linear_warmup),
    "polynomial": (_polynomial, _linear_warmup),
    "constant_with_warmup": (_constant, _linear_warmup),
    "inverse_sqrt": (_inverse_sqrt, _linear_warmup),
    "cosine_with_min_lr": (_cosine_with_min_lr, _linear_warmup),
    "cosine_warmup_with_min_lr": (_early_cosine_with_min_lr, _early_warmup),
    "warmup_stable_decay": (_warmup_stable_decay, _raised_warmup),
}
_WITHOUT_FORMULA = ("constant", "reduce_lr_on_plateau")  # A callback lowers the rate on a plateau.


def create_schedule(
    host: Host, kind: str, peak: float, warmup_steps: int, total_steps: int, options: Mapping[str, Any]
) -> Any:
    """A learning-rate schedule of the model's own Keras, with the values of transformers' schedules.

    Args:
        host: The model.
        kind: A schedule of transformers, such as ``"linear"`` or ``"warmup_stable_decay"``.
        peak: The highest rate.
        warmup_steps: Steps over which the rate rises.
        total_steps: Steps of the training.
        options: All options of the kind, those with their defaults too.

    Returns:
        A ``LearningRateSchedule``, or ``peak`` itself where the rate does not depend on the step.

    Follows ``transformers.get_scheduler``.
    """
    if kind in _WITHOUT_FORMULA:
        if warmup_steps:
            _logger.warning(
                "%d warm-up steps have no effect with lr_scheduler_type=%r, as in transformers. Expected a schedule "
                "that has a warm-up. Use 'constant_with_warmup', or set warmup_steps=0 and warmup_ratio=0.",
                warmup_steps,
                kind,
            )
        return peak
    ops = host.ops
    schedule = _Schedule(ops, peak, warmup_steps, total_steps, options)
    after_warmup, warmup = _FORMULAS[kind]

    class Schedule(host.keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc, name-defined]
        def __call__(self, step: Any) -> Any:
            step = ops.cast(step, "float32")
            return peak * ops.where(step < warmup_steps, warmup(schedule, step), after_warmup(schedule, step))

        def get_config(self) -> dict[str, Any]:
            shape = {"kind": kind, "peak": peak, "warmup_steps": warmup_steps, "total_steps": total_steps}
            return {**shape, "options": dict(options)}

    return Schedule()
