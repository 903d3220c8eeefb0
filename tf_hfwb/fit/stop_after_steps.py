"""The end of a fit after a number of steps that is no multiple of an epoch's, and of epochs that differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Callback, Logs, forget_epoch_length
from tf_hfwb.resume.checkpoint_participants import FIRST_STEP, CaptureState
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.step_policies import Once


class StopAfterSteps(StepCallback):
    """Stop after so many steps.

    Args:
        steps: Optimizer steps, counted from the begin of the fit, or of the one that it resumes. The model may have
            been trained before that.
    """

    place = CallbackPlace.LAST_STEP
    participant_name = FIRST_STEP

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps
        self._first_step = 0

    @property
    def last_step(self) -> int:
        """The last global step; known when the fit has begun."""
        return self._first_step + self._steps

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Find the last step."""
        super().on_train_begin(logs)
        self._session.participants.add(self)
        self._policy = Once(self.last_step)
        if self._clock.step >= self.last_step:
            self._recorder.stop()

    def capture_state(self) -> CaptureState:
        """Where the training began."""
        return lambda: {"first_step": self._first_step}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Count from where the resumed training began."""
        begins_anew = self._session.resumption is None
        self._first_step = self._clock.step if begins_anew else state.get("first_step", 0)

    def on_due_step_end(self, logs: Logs) -> None:
        """Both Kerases look at ``stop_training`` after each execution."""
        self.model.stop_training = True


def first_step_of(checkpoint: Checkpoint) -> int:
    """The global step at which its training began; the model may have been trained before."""
    first_step: int = TrainerState.read(checkpoint).callbacks.get(FIRST_STEP, {}).get("first_step", 0)
    return first_step


class EpochsOfAnyLength(Callback):
    """Let each epoch of a fit be as long as its data, where the data does not tell its length."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Forget how long the one before was."""
        forget_epoch_length(self.model)
