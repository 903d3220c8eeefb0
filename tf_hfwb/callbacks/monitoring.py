"""Whether the metric that tells the best checkpoint is there, and falls on steps that are saved."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from tf_hfwb.callbacks.names import row_name

_logger = logging.getLogger("tf_hfwb")


class Monitoring:
    """What one fit knows of the monitored metric; says once what is wrong with it.

    Args:
        metric: Its name as in rows; None when nothing is monitored.
    """

    def __init__(self, metric: str | None) -> None:
        self._metric = metric
        self._known: list[str] = []  # Names of the last evaluation.
        self._has_value = self._has_number = False  # Of any save.
        self._is_named = False
        self._unknown_save: int | None = None  # A step that was saved, or would have been, without a value.
        self._has_warned = False

    def see(self, step: int, metrics: Mapping[str, Any]) -> None:
        """The model was evaluated in the middle of a fit."""
        if self._metric is not None and not self._metric.startswith("train/"):
            self._see(step, metrics)

    def _see(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._known = sorted(map(row_name, metrics))
        self._is_named |= self._metric in self._known
        if not self._is_named:
            self._warn("%s is not among the metrics at step %d: %s.", step, ", ".join(self._known) or "none")

    def see_epoch(self, step: int, metrics: Mapping[str, Any]) -> None:
        """An epoch has ended, and what is due has been saved; evaluations are made at this step only."""
        self._see(step, metrics)
        if self._is_named and not self._has_value and self._unknown_save is not None:
            self._warn("%s is measured at step %d, and saved is at others, such as %d.", step, self._unknown_save)

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
            return f"those with a value of {self._metric} could not be written."
        if self._has_value:
            return f"{self._metric} was NaN, and never a number, at the steps that were saved."
        return (
            f"{self._metric} was not known at any step that was saved. Expected an evaluation there. Metrics of the "
            f"last evaluation: {', '.join(self._known) or 'none'}."
        )

    def _warn(self, what: str, *values: Any) -> None:
        if self._metric is not None and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                f"{what} Which checkpoint is the best is not known then. Expected a metric that is measured at the "
                "steps that are saved. Correct monitor, validation_data or save_freq. This is said once.",
                self._metric,
                *values,
            )
