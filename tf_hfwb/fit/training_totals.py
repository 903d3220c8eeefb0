"""What a whole fit amounts to: steps, samples and the mean of the losses of all its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.recorded_losses import LossCallback
from tf_hfwb.keras_compat import Logs, Reading
from tf_hfwb.resume.checkpoint_participants import TOTALS, CaptureState


class TrainingTotals(LossCallback):
    """Add up a fit, also where nothing is logged.

    Args:
        finite_only: Whether losses that are not finite are left out of means, here and in rows.

    Attributes:
        step: The global step at its end.
        steps: Optimizer steps of this fit.
        samples: Samples that this fit trained on.
    """

    place = CallbackPlace.STATES
    participant_name = TOTALS

    def __init__(self, *, finite_only: bool = False) -> None:
        super().__init__()
        self._finite_only = finite_only
        self.step = self.steps = 0
        self.samples = 0
        self._first_step = 0
        self._losses = 0.0
        self._averaged = 0

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell the callback that writes rows, which begins first."""
        super().set_params(params)
        if self._next_session is not None:
            self._next_session.leaves_out_losses = self._finite_only

    @property
    def loss(self) -> float:
        """The mean over all batches that count, those before a resume too; NaN without any."""
        return self._losses / self._averaged if self._averaged else math.nan

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Note where the fit begins."""
        super().on_train_begin(logs)
        self._first_step = self._clock.step
        self.samples = 0
        self._session.participants.add(self)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Add to the losses of the resumed training."""
        self._losses, self._averaged = state.get("losses", 0.0), state.get("batches", 0)

    def capture_state(self) -> CaptureState:
        """The losses so far."""
        self._read()
        state = {"losses": self._losses, "batches": self._averaged}
        return lambda: state

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Sum up."""
        super().on_train_end(logs)
        self._read()
        self.step = self._clock.step
        self.steps = self.step - self._first_step

    def on_train_interrupted(self) -> None:
        """Count what the fit has done."""
        self.on_epoch_end(self._schedule.epoch)
        self.on_train_end()

    def _take(self, reading: Reading) -> None:
        counted = reading.train_losses
        if self._finite_only:
            counted = counted[np.isfinite(counted)]
        self._losses += float(np.sum(counted))
        self._averaged += len(counted)
        self.samples += reading.train_samples
