"""The base of callbacks that act on steps: when has a step ended, and which one was it."""

from __future__ import annotations

from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.fit.fit_callback import FitCallback
from tf_hfwb.fit.fit_session import FitSession
from tf_hfwb.fit.foreseen_steps import RegularSteps
from tf_hfwb.fit.step_clock import StepClock
from tf_hfwb.fit.step_schedule import StepSchedule
from tf_hfwb.keras_compat import Host, Logs, StepRecorder, host_of
from tf_hfwb.step_policies import Never, Policy


class StepCallback(FitCallback):
    """Calls :meth:`on_due_step_end` on the training thread when a step has ended for which the policy is due.

    Subclasses that override a hook call it on this class too.

    Args:
        policy: When to act. A subclass may set it later, until its ``on_train_begin`` returns.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.
    """

    # Whether what this callback does at the end of an epoch must be done when the epoch is saved.
    _precedes_saving = False

    _session: FitSession  # The running fit's, or the last one's.
    _host: Host

    def __init__(self, policy: Policy | None = None, initial_global_step: int = 0) -> None:
        super().__init__()
        self._policy: Policy = policy or Never()
        self._initial_global_step = initial_global_step

    # -- for subclasses --------------------------------------------------------------------------------------------

    def on_due_step_end(self, logs: Logs) -> None:
        """A step for which the policy is due has ended; it is ``self._clock.step``.

        Args:
            logs: What the train function returned, or at the end of an epoch the epoch's logs. Values may be tensors.
        """

    def on_quiet_look(self, batches: int) -> None:
        """So many batches were trained on since the last look, and nothing is due.

        There is a look at least once for every half of the losses that the step recorder keeps.
        """

    def on_planned(self) -> None:
        """The schedule has planned when it looks next."""

    @property
    def takes_regular_steps(self) -> bool:
        """Whether :meth:`on_regular_step` may be called in place of :meth:`on_due_step_end`."""
        return False

    def on_regular_step(self, steps: RegularSteps, executions: int, logs: Logs) -> None:
        """A step for which the policy is due has ended, and was foreseen at the last look; the clock is not there yet.

        Args:
            steps: What was foreseen.
            executions: The executions since the last look.
            logs: What the train function returned.
        """

    @property
    def policy(self) -> Policy:
        """For which steps :meth:`on_due_step_end` is called."""
        return self._policy

    @property
    def _clock(self) -> StepClock:
        return self._session.clock

    @property
    def _schedule(self) -> StepSchedule:
        return self._session.schedule

    @property
    def _recorder(self) -> StepRecorder:
        return self._session.recorder

    # -- hooks -----------------------------------------------------------------------------------------------------

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell the session at which step training starts."""
        super().set_params(params)
        if self._next_session is not None:
            self._next_session.expect_step(self._initial_global_step)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._host = host_of(self.model)
        session = self._session = self._find_session()
        session.begin()
        if self._precedes_saving and session.has_saver:
            raise SettingError(
                "callbacks",
                f"[..., WandbModelCheckpoint, ..., {type(self).__name__}, ...]",
                expected=f"{type(self).__name__} in front of WandbModelCheckpoint, or checkpoints would lack its work",
                advice="Swap them, or let wandb_callbacks(callbacks=[...]) put them in order.",
            )
        session.schedule.add(self)
        session.join(self)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start counting the epoch's batches."""
        self._schedule.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Count the epoch's last batches, and do what is due of them."""
        self._schedule.end_epoch(epoch)
        self._schedule.call(self, logs or {})

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remember the step for the model's next fit."""
        self._session.finish()
