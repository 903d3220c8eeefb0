"""End a fit after a number of steps that is no multiple of an epoch's."""

from __future__ import annotations

from tf_hfwb.callbacks.step import StepCallback
from tf_hfwb.keras_compat import Logs
from tf_hfwb.policies import Once


class StopAfterSteps(StepCallback):
    """Stop after so many steps.

    Args:
        steps: Optimizer steps, counted from the begin of the fit, or of the one that it goes on with.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Find the last step."""
        super().on_train_begin(logs)
        done = 0 if self._resumption is None else self._resumption.position.step
        self._policy = Once(self._clock.step - done + self._steps)
        if done >= self._steps:
            self._recorder.stop()

    def on_due_step_end(self, logs: Logs) -> None:
        """Both Kerases look at ``stop_training`` after each execution."""
        self.model.stop_training = True
