"""Decisions without effects: is it time, and which value is better.

Everything here is plain Python on numbers. A policy says which step after a given one it is waiting for, and never
counts for itself; that is what makes it right when several steps run in one execution, and after a resume.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# Words of a metric's name that say that less of it is better; the long ones also as a part of a word.
_WORDS = """
    loss logloss error errors perplexity ppl divergence kld crossentropy xent bce nll brier hinge poisson
    logcosh deviance regret distance levenshtein hausdorff misclassification latency bits bpb bpc crps fid lpips ece eer
    fpr fnr fdr wer cer ter mer mae mse rmse nrmse mape smape wape mase msle rmsle
"""
_LOWER_IS_BETTER = frozenset(_WORDS.split())
_LOWER_TOGETHER = (
    "cross_entropy",
    "false_positive",
    "false_negative",
    "false_discovery",
    "false_omission",
    "miss_rate",
)


@dataclass(frozen=True)
class EverySteps:
    """Due at every multiple of ``steps``.

    Attributes:
        steps: The interval in optimizer steps, at least 1.
        first: Also due at the very first step.
        earliest: The step before which it is not due.

    Example:
        >>> [EverySteps(10).next_due(step) for step in (0, 4, 10)]
        [10, 10, 20]
        >>> [EverySteps(10, earliest=20).next_due(step) for step in (0, 4, 20)]
        [20, 20, 30]
    """

    steps: int
    first: bool = False
    earliest: float = 0

    def next_due(self, step: int) -> int | None:
        """The first step after ``step`` at which it will be due."""
        if self.first and step <= 0:
            return 1
        before = max(step, math.ceil(self.earliest) - 1)
        return (before // self.steps + 1) * self.steps


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


@dataclass(frozen=True)
class Earliest:
    """Due whenever one of several policies is.

    Attributes:
        policies: These.

    Example:
        >>> Earliest((EverySteps(4), Never(), Once(6))).next_due(4)
        6
    """

    policies: tuple[Policy, ...]

    def next_due(self, step: int) -> int | None:
        """The first step at which one of them will be due."""
        return min((due for one in self.policies if (due := one.next_due(step)) is not None), default=None)


Policy = EverySteps | Never | Once | Earliest


def higher_is_better(metric: str) -> bool:
    """Guess from its name whether a metric is to be maximised, as Keras's ``mode="auto"`` does.

    The name may be one of the logs, of a row, of a class or of a function. scikit-learn's ``neg_mean_squared_error``
    and the like are to be maximised, and so is a ``log_likelihood``, but not a ``negative_log_likelihood``.

    Example:
        >>> higher_is_better("eval/accuracy"), higher_is_better("val_loss"), higher_is_better("MeanSquaredError")
        (True, False, False)
        >>> higher_is_better("neg_mean_squared_error"), higher_is_better("val_false_positives")
        (True, False)
    """
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", metric).lower().replace("/", "_").replace("-", "_").replace(" ", "_")
    words = name.split("_")
    if "likelihood" in words:
        return "neg" not in words and "negative" not in words
    lower = any(word in words or (len(word) > 4 and word in name) for word in _LOWER_IS_BETTER)
    lower = lower or any(part in name for part in _LOWER_TOGETHER)
    return not lower or "neg" in words


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
