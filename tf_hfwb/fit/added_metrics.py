"""Metrics that callbacks add to the logs of an epoch, as Keras's and transformers' ``KerasMetricCallback`` do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tf_hfwb.fit.fit_session import FitSession
from tf_hfwb.fit.metric_names import added_metrics
from tf_hfwb.keras_compat import Logs


class _EndedEpoch(NamedTuple):
    """The logs of an epoch that has ended.

    Attributes:
        logs: The one dict that both Kerases hand through all callbacks, also through those behind the logger.
        seen: The names that the logger has seen.
        step: The global step.
        epoch: The epoch, with its fraction.
    """

    logs: Logs
    seen: set[str]
    step: int
    epoch: float


class AddedMetrics:
    """What callbacks of one fit add to the logs of epochs, each found once, wherever they stand in the list.

    Args:
        session: The fit's.
    """

    def __init__(self, session: FitSession) -> None:
        self._session = session
        self._logged: set[str] = set()
        self._ended: _EndedEpoch | None = None

    def leave_out(self, rows: Mapping[str, Any]) -> None:
        """These metrics, by their rows' names, are logged by whoever has computed them."""
        self._logged |= rows.keys()

    def find(self, logs: Logs) -> dict[str, Any]:
        """Those in the logs, under the rows' names.

        What an evaluator has handed on was logged when it was computed, maybe by the process before this one.
        """
        session = self._session
        added = added_metrics(session.evaluations.own_logs(logs), session.recorder.reported)
        return {name: value for name, value in added.items() if name not in self._logged}

    def end_epoch(self, logs: Logs) -> None:
        """The logger has seen these logs. Callbacks behind it may still add to them."""
        self._ended = _EndedEpoch(logs, set(logs), *self._session.schedule.position())

    def find_late(self) -> tuple[dict[str, Any], int, float] | None:
        """What was added behind the logger since then, with the step and the epoch; None without any."""
        if self._ended is None:
            return None
        logs, seen, step, epoch = self._ended
        late = self.find({name: value for name, value in logs.items() if name not in seen})
        seen.update(logs)
        return (late, step, epoch) if late else None

    def begin_epoch(self) -> None:
        """The logs of the epoch before are complete."""
        self._ended = None
