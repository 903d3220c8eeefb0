"""The base class of callbacks that look at the losses of all steps, which the model has recorded."""

from __future__ import annotations

import abc

import numpy as np

from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Logs, Reading, difference


class LossCallback(StepCallback):
    """Is handed what the steps have recorded, before the recorder forgets it and whenever it asks."""

    def __init__(self) -> None:
        super().__init__()
        self._captured = np.zeros(0)
        self._unread = 0  # Batches since the recorder was read.

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin with the losses of this fit."""
        super().on_train_begin(logs)
        self._captured, self._unread = np.asarray(self._recorder.capture()), 0

    def on_quiet_look(self, batches: int) -> None:
        """Read the recorder before it forgets."""
        self._unread += batches
        if self._unread >= self._recorder.size // 2:
            self._read()

    def _read(self) -> None:
        captured = np.asarray(self._recorder.capture())
        reading = difference(self._captured, captured)
        self._captured, self._unread = captured, 0
        self._take(reading)

    @abc.abstractmethod
    def _take(self, reading: Reading) -> None:
        """Look at what was recorded since the last time."""
