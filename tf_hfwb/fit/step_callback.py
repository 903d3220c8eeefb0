"""The base of callbacks that act on steps: when has a step ended, and which one was it."""

from __future__ import annotations

from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.fit.step_clock import StepClock
from tf_hfwb.keras_compat import Callback, Fit, Host, Logs, StepRecorder, host_of
from tf_hfwb.resume.resume_position import Position, Resumption, resumption_of
from tf_hfwb.step_policies import Never, Policy

_LONGEST_QUIET = 2**31


class StepCallback(Callback):
    """Calls :meth:`on_due_step_end` on the training thread when a step has ended for which the policy is due.

    Steps are not seen through Keras's batch hooks: having one costs tf_keras some 20 µs a step, whatever it does, and
    Keras 3 calls ``on_train_batch_end`` on other threads, late and in any order, or else synchronises every step. The
    step recorder calls instead, when an execution of the train function has returned. Between two executions that
    matter that costs a countdown: :meth:`_plan` says when to look again.

    Subclasses that override a hook call it on this class too.

    Args:
        policy: When to act. A subclass may set it later, until its ``on_train_begin`` returns.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.
    """

    # Whether what this callback does at the end of an epoch must be done when the epoch is saved.
    _precedes_saving = False

    _host: Host
    _recorder: StepRecorder
    _fit: Fit
    _clock: StepClock

    def __init__(self, policy: Policy | None = None, initial_global_step: int = 0) -> None:
        super().__init__()
        self._policy: Policy = policy or Never()
        self._initial_global_step = initial_global_step
        self._longest_quiet = _LONGEST_QUIET
        self._steps_per_epoch: int | None = None
        self._stride = 1
        self._surprising = False
        self._executions = self._countdown = 0  # How many until the next look, and how many of them are left.
        self._next_due: int | None = None  # The step for which the policy is due next, as of the last plan.
        self._epoch = 0
        self._epoch_batches = 0  # Trained on in this epoch, and
        self._batches_so_far = 0  # in all of them, since the very first start.
        self._skipped_batches = 0  # Of the epoch in which a restored training goes on.
        self._resumption: Resumption | None = None

    # -- for subclasses --------------------------------------------------------------------------------------------

    def on_due_step_end(self, logs: Logs) -> None:
        """A step for which the policy is due has ended; it is ``self._clock.step``.

        Args:
            logs: What the train function returned, or at the end of an epoch the epoch's logs. Values may be tensors.
        """

    def on_quiet_look(self, batches: int) -> None:
        """So many batches were trained on and nothing is due; called after ``_longest_quiet`` batches at the latest."""

    def _resumed(self, name: str) -> Any:
        """What a checkpoint holds of the participant of that name; empty in a fit that begins anew."""
        return {} if self._resumption is None else self._resumption.states.get(name) or {}

    # -- hooks -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._host = host_of(self.model)
        self._recorder = self._host.record_steps()
        self._fit = self._recorder.fit
        if self._precedes_saving and "WandbModelCheckpoint" in self._fit.participants:
            raise SettingError(
                "callbacks",
                f"[..., WandbModelCheckpoint, ..., {type(self).__name__}, ...]",
                expected=f"{type(self).__name__} in front of WandbModelCheckpoint, or checkpoints would lack its work",
                advice="Swap them, or let wandb_callbacks(callbacks=[...]) put them in order.",
            )
        self._fit.listeners.append(self._execution_ended)
        self._resumption = resumption_of(self.model)
        position = Position() if self._resumption is None else self._resumption.position
        resumed_step = None if self._resumption is None else position.step
        self._clock = StepClock(self._host, self._recorder, self._initial_global_step, resumed_step)
        self._stride = self._host.steps_per_execution
        self._steps_per_epoch = self.params.get("steps")
        # An execution of several batches of unknown data may end early, and nobody says so.
        self._surprising = self._stride > 1 and self._steps_per_epoch is None
        self._executions = self._countdown = 0
        self._epoch = position.epoch
        self._epoch_batches = self._skipped_batches = position.batch
        self._batches_so_far = position.batches
        self._fit.when_interrupted.append(self._note_interruption)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start counting the epoch's batches."""
        self._epoch, self._epoch_batches, self._skipped_batches = epoch, self._skipped_batches, 0
        self._plan()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Count the epoch's last batches, which nobody has looked at or even told of."""
        batches = self._clock.uncounted_batches()
        if batches is None:
            batches = self._batches(self._executions - self._countdown)
        self._advance(batches, logs or {})
        self._clock.finish_epoch()
        if self._steps_per_epoch is None:
            self._steps_per_epoch = self._epoch_batches

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remember the step for the model's next fit."""
        self._clock.stop()
        self._fit.listeners.remove(self._execution_ended)
        self._fit.when_interrupted.remove(self._note_interruption)

    # -- counting --------------------------------------------------------------------------------------------------

    def _position(self) -> tuple[int, float]:
        """The global step and the epoch as of now, between two looks too.

        The epoch has a fraction, except while the number of its batches is unknown, as with a generator.
        """
        executions = self._executions - self._countdown
        batches = self._batches(executions) if executions else 0
        fraction = (self._epoch_batches + batches) / self._steps_per_epoch if self._steps_per_epoch else 0.0
        return self._clock.after(batches), self._epoch + fraction

    def step_now(self) -> int:
        """The global step as of now, for any thread: without asking the device."""
        return self._clock.after((self._executions - self._countdown) * self._stride)

    def _note_interruption(self) -> None:
        self._clock.stop(self.step_now())

    def _settle(self) -> None:
        """Count what has been trained on since the last look, now."""
        executions = self._executions - self._countdown
        if executions:
            batches = self._batches(executions)
            self._advance(batches, {})
            self._plan()

    def _execution_ended(self, logs: Logs) -> None:
        self._countdown -= 1
        if self._countdown <= 0:
            self._advance(self._executions if self._stride == 1 else self._batches(self._executions), logs)
            self._plan()

    def _plan(self) -> None:
        """Find the execution that will reach the next step that is due."""
        clock = self._clock
        self._next_due = step = self._policy.next_due(clock.step)
        executions = 1
        if clock.settled and not self._surprising:
            batches = self._longest_quiet if step is None else clock.batches_until(step)
            executions = max(1, -(-min(batches, self._longest_quiet) // self._stride))
        self._executions = self._countdown = executions

    def _batches(self, executions: int) -> int:
        """The batches in so many executions; the last of an epoch may be a shorter one."""
        batches = executions * self._stride
        if self._stride == 1:
            return batches
        if self._surprising:
            recorded = self._clock.uncounted_batches()
            return batches if recorded is None else recorded
        left = int(self.params["steps"]) - self._epoch_batches
        if batches <= left:
            return batches
        recorded = self._clock.uncounted_batches()  # Keras 3 trains beyond the epoch, where there is data.
        return left if recorded is None else recorded

    def _advance(self, batches: int, logs: Logs) -> None:
        clock = self._clock
        self._countdown = self._executions
        clock.advance(batches)
        self._epoch_batches += batches
        self._batches_so_far += batches
        if clock.must_confirm and self._is_due_by(clock.step):
            clock.confirm()
        if self._is_due_by(clock.step):
            self.on_due_step_end(logs)
        else:
            self.on_quiet_look(batches)

    def _is_due_by(self, step: int) -> bool:
        """Whether the step for which the last plan was made comes no later than that one."""
        return self._next_due is not None and step >= self._next_due
