"""Whether the metric that tells the best checkpoint is there, and falls on steps that are saved."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tf_hfwb.fit.metric_names import row_name

_logger = logging.getLogger("tf_hfwb")


class Monitoring:
    """What one fit knows of the monitored metric; says once what is wrong with it.

    Args:
        metric: Its name as in rows; None when nothing is monitored.
        may_be_added: Whether there are callbacks that may add it to the logs at the end of an epoch.

    Attributes:
        metric: The same; it may turn out to be another when the train step is known.
    """

    def __init__(self, metric: str | None, *, may_be_added: bool = False) -> None:
        self.metric = metric
        self._may_be_added = may_be_added
        self._known: list[str] = []  # Names of the last evaluation.
        self._has_value = self._has_number = False  # Of any save.
        self._is_named = False
        self._missed: int | None = None  # The step of an evaluation by a callback that did not name it.
        self._unknown_save: int | None = None  # A step that was saved, or would have been, without a value.
        self._has_warned = False

    def see(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A callback has evaluated the model, in the middle of an epoch or at its end."""
        if self.metric is None or self.metric.startswith("train/"):
            return
        self._look(map(row_name, metrics))
        if not self._is_named and self._may_be_added:
            self._missed = step
        elif not self._is_named:
            self._warn_that_it_is_missing(step)

    def see_epoch(self, step: int, metrics: Mapping[str, Any], *, is_evaluation: bool) -> None:
        """An epoch has ended, and what is due has been saved.

        Args:
            step: The global step.
            metrics: What is known of it, under the rows' names.
            is_evaluation: Whether this is where metrics are measured; not where callbacks evaluate, by steps too.
        """
        missed, self._missed = step if is_evaluation else self._missed, None
        if missed is not None or self.metric in metrics:
            self._look(metrics)
        if missed is not None and not self._is_named:
            self._warn_that_it_is_missing(missed)
        if is_evaluation and self._is_named and not self._has_value and self._unknown_save is not None:
            self._warn("%s is measured at step %d, and saved is at others, such as %d.", step, self._unknown_save)

    def see_no_number(self, step: int, what: str) -> None:
        """The metric's value at a step is no single number."""
        self._is_named = True
        self._warn("%s is %s at step %d.", what, step)

    def _look(self, names: Iterable[str]) -> None:
        self._known = sorted(names)
        self._is_named |= self.metric in self._known

    def _warn_that_it_is_missing(self, step: int) -> None:
        self._warn("%s is not among the metrics at step %d: %s.", step, ", ".join(self._known) or "none")

    def see_save(self, step: int, value: float | None) -> None:
        """A checkpoint is due at a step, with the metric's value if it is known."""
        if value is not None:
            self._has_value = True
            self._has_number |= not math.isnan(value)
        else:
            self._unknown_save = step

    def why(self) -> str:
        """Why no checkpoint is the best."""
        if self._has_number:
            return f"those with a value of {self.metric} could not be written."
        if self._has_value:
            return f"{self.metric} was NaN, and never a number, at the steps that were saved."
        return (
            f"{self.metric} was not known at any step that was saved. Expected an evaluation there. Metrics of the "
            f"last evaluation: {', '.join(self._known) or 'none'}."
        )

    def _warn(self, what: str, *values: Any) -> None:
        if self.metric is not None and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                f"{what} Which checkpoint is the best is not known then. Expected a metric that is measured at the "
                "steps that are saved. Correct monitor, validation_data or save_freq. This is said once.",
                self.metric,
                *values,
            )
