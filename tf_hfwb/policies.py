"""Decisions without effects: is it time, and which value is better.

Everything here is plain Python on numbers. A policy says which step after a given one it is waiting for, and never
counts for itself; that is what makes it right when several steps run in one execution, and after a resume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LOWER_IS_BETTER = ("loss", "error", "perplexity", "divergence", "mae", "mse", "rmse", "mape", "msle", "wer", "cer")


@dataclass(frozen=True)
class EverySteps:
    """Due at every multiple of ``steps``.

    Attributes:
        steps: The interval in optimizer steps, at least 1.
        first: Also due at the very first step.

    Example:
        >>> [EverySteps(10).next_due(step) for step in (0, 4, 10)]
        [10, 10, 20]
    """

    steps: int
    first: bool = False

    def next_due(self, step: int) -> int | None:
        """The first step after ``step`` at which it will be due."""
        return 1 if self.first and step <= 0 else (step // self.steps + 1) * self.steps


@dataclass(frozen=True)
class Never:
    """Never due: the policy of a logger that works by epochs."""

    def next_due(self, step: int) -> int | None:
        """None."""
        return None


@dataclass(frozen=True)
class Once:
    """Due at one step.

    Attributes:
        step: That step.
    """

    step: int

    def next_due(self, step: int) -> int | None:
        """The step, as long as it lies ahead."""
        return self.step if step < self.step else None


Policy = EverySteps | Never | Once


def higher_is_better(metric: str) -> bool:
    """Guess from its name whether a metric is to be maximised, as Keras's ``mode="auto"`` does.

    Example:
        >>> higher_is_better("eval/accuracy"), higher_is_better("val_loss"), higher_is_better("mean_squared_error")
        (True, False, False)
    """
    name = metric.lower()
    words = name.replace("/", "_").replace("-", "_").split("_")
    return not any(word in words or (len(word) > 4 and word in name) for word in _LOWER_IS_BETTER)


def is_better(value: float, best: float | None, *, higher: bool) -> bool:
    """Whether ``value`` beats ``best``. NaN never does; anything else beats no value.

    Example:
        >>> is_better(0.0, None, higher=True), is_better(float("nan"), 0.1, higher=True)
        (True, False)
    """
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value > best if higher else value < best
