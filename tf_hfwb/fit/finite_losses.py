"""Losses that are no numbers: the user hears of them, and the last checkpoint from before them stays.

A loss that is NaN or infinite has most often spoilt the weights, and every later checkpoint has these. With
``save_total_limit`` such checkpoints would push out the good ones. The training itself continues, as with transformers'
``Trainer``: with a scaled loss a step that overflows is left out, and the next one is fine again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.recorded_losses import LossCallback
from tf_hfwb.keras_compat import Logs, Reading
from tf_hfwb.resume.checkpoint_participants import FINITE_LOSSES, CaptureState

_logger = logging.getLogger("tf_hfwb")


class FiniteLosses(LossCallback):
    """Looks at the losses of all steps, at every save and twice before the recorder forgets them.

    A checkpoint is good if the step behind it has a finite loss: that loss is the first one that its weights give. From
    a loss that is not finite until the next good checkpoint the last good one is kept.

    Attributes:
        num_bad: The losses of this fit that are not finite.
        first_bad_step: The global step of the first of them; None without any.
    """

    place = CallbackPlace.STATES
    participant_name = FINITE_LOSSES

    def __init__(self) -> None:
        super().__init__()
        self.num_bad = 0
        self.first_bad_step: int | None = None
        self._good_step: int | None = None
        self._newest_saved: int | None = None  # Of which it is not known yet whether it is good.

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin with the losses of this fit."""
        super().on_train_begin(logs)
        self.num_bad, self.first_bad_step = 0, None
        self._session.participants.add(self)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """The checkpoint from which the training resumes may have spoilt weights."""
        self._good_step = state.get("good_step")
        self._newest_saved = None if self._session.resumption is None else self._clock.step

    def capture_state(self) -> CaptureState:
        """Look before the checkpoint pushes out older ones."""
        self._read()
        self._newest_saved = self._clock.step
        state = {"good_step": self._good_step}
        return lambda: state

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell at the end of an epoch at the latest."""
        super().on_epoch_end(epoch, logs)
        self._read()

    def _take(self, reading: Reading) -> None:
        losses = reading.train_losses
        if not len(losses):
            return
        if self._newest_saved is not None and np.isfinite(losses[0]):
            self._good_step = self._newest_saved
            self._session.needed_steps.pop(FINITE_LOSSES, None)
        self._newest_saved = None
        (bad,) = np.nonzero(~np.isfinite(losses))
        if len(bad):
            self._see_bad(
                self._clock.step - int(len(losses) - 1 - bad[0]) // self._host.accumulation_steps, losses[bad]
            )

    def _see_bad(self, step: int, losses: np.ndarray) -> None:
        if self._good_step is not None:
            self._session.needed_steps[FINITE_LOSSES] = self._good_step
        self.num_bad += len(losses)
        if self.first_bad_step is None:
            self.first_bad_step = step
            if self._host.is_chief:
                self._warn(step, float(losses[0]))

    def _warn(self, step: int, loss: float) -> None:
        good = "No checkpoint is from before."
        if self._good_step is not None:
            good = f"{checkpoint_name(self._good_step)} is the last one from before, and stays."
        _logger.warning(
            "The loss of step %d is %s. Expected a number. %s Training continues; it ends at the first NaN with "
            "Keras's TerminateOnNaN among the callbacks, and at the operation that made it with "
            "debug='underflow_overflow'. Mostly a lower learning rate helps, or max_grad_norm. This is said once.",
            step,
            loss,
            good,
        )
