"""Lower a constant learning rate whenever a metric has stopped improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.evaluation_listener import EvaluationCallback
from tf_hfwb.fit.metric_names import named, row_name
from tf_hfwb.keras_compat import Logs, to_float
from tf_hfwb.resume.checkpoint_participants import PLATEAU, CaptureState


@dataclass
class _Counts:
    """What a checkpoint holds."""

    rate: float
    best: float | None = None
    bad: int = 0  # Evaluations since the best one, or since the rate was lowered.
    cooldown: int = 0  # Evaluations to come that do not count as bad.
    metric: str | None = None  # By which these were counted.


class ReduceRateOnPlateau(EvaluationCallback):
    """Multiply the rate by ``factor`` after more than ``patience`` evaluations that were not better.

    Args:
        metric: The metric, named ``eval_...``.
        options: All arguments of PyTorch's class by their names, but for the optimizer.

    Follows ``torch.optim.lr_scheduler.ReduceLROnPlateau``, as ``transformers.Trainer`` calls it: after each evaluation.
    """

    place = CallbackPlace.STOPPING
    participant_name = PLATEAU
    _precedes_saving = True

    def __init__(self, metric: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._metric = metric
        self._options = options
        self._counts = _Counts(0.0)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin anew, or continue where the checkpoint was taken."""
        super().on_train_begin(logs)
        self._session.participants.add(self)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Count on from the resumed training."""
        rate = np.float32(to_float(self._host.learning_rate(0)))
        self._counts = _Counts(**{"rate": float(str(rate)), **state})  # As it was written: 5e-05.
        if self._counts.metric not in (None, self._metric):
            self._counts.best, self._counts.bad = None, 0
        self._counts.metric = self._metric
        try:
            self._host.set_learning_rate(self._counts.rate)
        except TypeError as error:
            raise SettingError(
                "lr_scheduler_type",
                "reduce_lr_on_plateau",
                expected="another one, with an optimizer that has a schedule: its rate cannot be changed",
                advice="Pass an optimizer with a number as its learning rate, or none.",
            ) from error

    def capture_state(self) -> CaptureState:
        """What was counted so far."""
        counts = asdict(self._counts)
        return lambda: counts

    def on_evaluated(self, step: int, metrics: Logs) -> None:
        """Count the evaluation, and lower the rate where it is one too many."""
        found = named(metrics, self._recorder.reported)
        value = to_float(found.get(row_name(self._metric, self._recorder.reported)))
        if value is None:
            raise SettingError("metric_for_best_model", self._metric, accepted=sorted(metrics))
        counts, options = self._counts, self._options
        if self._is_better(value):
            counts.best, counts.bad = value, 0
        else:
            counts.bad += 1
        if counts.cooldown > 0:
            counts.cooldown -= 1
            counts.bad = 0
        if counts.bad > options["patience"]:
            counts.cooldown, counts.bad = options["cooldown"], 0
            self._lower_rate()

    def _is_better(self, value: float) -> bool:
        best, is_max, threshold = self._counts.best, self._options["mode"] == "max", self._options["threshold"]
        if best is None:
            best = -math.inf if is_max else math.inf
        if self._options["threshold_mode"] == "rel":
            limit = best * (1 + threshold if is_max else 1 - threshold)
        else:
            limit = best + (threshold if is_max else -threshold)
        return value > limit if is_max else value < limit

    def _lower_rate(self) -> None:
        rate = max(self._counts.rate * self._options["factor"], self._options["min_lr"])
        if self._counts.rate - rate > self._options["eps"]:
            self._counts.rate = rate
            self._host.set_learning_rate(rate)
