"""The end of a fit after a number of steps that is no multiple of an epoch's, and of epochs that differ."""

from __future__ import annotations

from collections.abc import Callable

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Callback, Logs, forget_epoch_length
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.step_policies import Once

STATE = "StopAfterSteps"  # In a checkpoint.


class StopAfterSteps(StepCallback):
    """Stop after so many steps.

    Args:
        steps: Optimizer steps, counted from the begin of the fit, or of the one that it goes on with. The model may
            have been trained before that.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Find the last step."""
        super().on_train_begin(logs)
        self._first_step = self._clock.step
        if self._resumption is not None:
            self._first_step = self._resumed(STATE).get("first_step", 0)
        self._fit.participants[STATE] = self._state
        last_step = self._first_step + self._steps
        self._policy = Once(last_step)
        if self._clock.step >= last_step:
            self._recorder.stop()

    def _state(self) -> Callable[[], dict[str, int]]:
        return lambda: {"first_step": self._first_step}

    def on_due_step_end(self, logs: Logs) -> None:
        """Both Kerases look at ``stop_training`` after each execution."""
        self.model.stop_training = True


def first_step_of(checkpoint: Checkpoint) -> int:
    """The global step at which its training began; the model may have been trained before."""
    first_step: int = TrainerState.read(checkpoint).callbacks.get(STATE, {}).get("first_step", 0)
    return first_step


class EpochsOfAnyLength(Callback):
    """Let each epoch of a fit be as long as its data, where the data does not tell its length."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Forget how long the one before was."""
        forget_epoch_length(self.model)
