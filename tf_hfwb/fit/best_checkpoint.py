"""Which checkpoint of a training is the best."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from tf_hfwb.fit.best_monitoring import Monitoring
from tf_hfwb.fit.fit_session import FitSession
from tf_hfwb.fit.metric_names import named, possible_rows, row_name
from tf_hfwb.keras_compat import Logs, describe_value, has_callbacks_of_others, to_float
from tf_hfwb.step_policies import is_better

_logger = logging.getLogger("tf_hfwb")


class Best(NamedTuple):
    """The best value of the monitored metric, and its step; both None without one."""

    value: float | None = None
    step: int | None = None


class BestCheckpoint:
    """The best checkpoint by the monitored metric.

    A checkpoint is taken at once and written later, and the write may fail. So there are two answers.

    Args:
        monitored: The metric as the user calls it; None when none is monitored.
        mode: ``"min"``, ``"max"`` or ``"auto"``.

    Attributes:
        metric: The metric's name in rows. It may turn out to be another one when the train step is known.
        taken: The best one of all that were taken, also of those that are still being written.
        committed: The best one of those on disk. The writer's thread sets it.
        monitoring: Whether the metric is there at all, and falls on steps that are saved.
    """

    def __init__(self, monitored: str | None, mode: str) -> None:
        self._monitored = monitored
        self._mode = mode
        self._session: FitSession | None = None
        self._model: weakref.ref[Any] | None = None
        self.metric = None if monitored is None else row_name(monitored)
        self.taken = Best()
        self.committed = Best()
        self.monitoring = Monitoring(self.metric)

    def begin(self, session: FitSession, model: Any, saved: Mapping[str, Any]) -> None:
        """A fit begins.

        Args:
            session: The fit's.
            model: The model.
            saved: What the checkpoint says from which the fit resumes; else the model's earlier fit counts.
        """
        self._session = session
        is_same = self._model is not None and self._model() is model
        before = self.taken if is_same else Best()
        self._model = weakref.ref(model)
        self.committed = self.taken = self._saved_best(saved) if "best" in saved else before
        if self._monitored is not None:
            rows = possible_rows(self._monitored)
            self.metric = saved["monitor"] if saved.get("monitor") in rows else rows[0]
            session.directions.state(self._monitored, self._mode)
        self.monitoring = Monitoring(self.metric, may_be_added=has_callbacks_of_others(model))
        session.evaluations.listen(self.monitoring.see)

    def _saved_best(self, saved: Mapping[str, Any]) -> Best:
        """The best of the training that is resumed, if it is the best by the same metric in the same direction."""
        best = Best(saved["best"], saved.get("best_step"))
        rows = () if self._monitored is None else possible_rows(self._monitored)
        metric, direction = saved.get("monitor"), saved.get("direction")
        has_turned = self._mode != "auto" and direction not in (None, self._mode)
        if best.value is None or (metric in rows and not has_turned):
            return best
        _logger.warning(
            "The checkpoint of step %s was the best by %s (mode=%r), and now %s is monitored: which one is the best is "
            "decided anew. Expected the same metric and mode, if that checkpoint is to stay the best.",
            best.step,
            metric,
            direction,
            f"{rows[0]} (mode={self._mode!r})" if rows else "nothing",
        )
        return Best()

    @property
    def is_higher_better(self) -> bool:
        """Whether more of the metric is better."""
        session = self._session
        if session is None or self.metric is None:
            return self._mode == "max"
        return session.directions.is_higher_better(self.metric, session.host)

    @property
    def direction(self) -> str | None:
        """``"max"`` or ``"min"``; None when nothing is monitored."""
        if self.metric is None:
            return None
        return "max" if self.is_higher_better else "min"

    def measure(self, session: FitSession, logs: Logs) -> dict[str, float]:
        """What is known of the model as it is after this very step, under the rows' names."""
        step, reported = session.clock.step, session.recorder.reported
        known = {**session.evaluations.own_logs(logs), **session.evaluations.at(step)}
        values = named(known, reported)
        numbers = {name: to_float(value) for name, value in values.items()}
        if self._monitored is not None:
            self.metric = self.monitoring.metric = row_name(self._monitored, reported)
            if self.metric in numbers and numbers[self.metric] is None:
                self.monitoring.see_no_number(step, describe_value(values[self.metric]))
        return {name: value for name, value in numbers.items() if value is not None}

    def value_of(self, metrics: Mapping[str, float]) -> float | None:
        """The monitored metric's value among metrics."""
        return None if self.metric is None else metrics.get(self.metric)

    def beats(self, value: float | None, best: Best) -> bool:
        """Whether a value is better than the best one."""
        return value is not None and is_better(value, best.value, higher=self.is_higher_better)

    def take_back(self) -> None:
        """A checkpoint could not be written, which may have been the best one."""
        self.taken = self.committed
