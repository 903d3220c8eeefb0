"""Which executions of the train function matter to the callbacks of a fit, found out at the cost of a countdown.

Steps are not seen through Keras's batch hooks: having one costs tf_keras some 20 µs a step, whatever it does, and
Keras 3 calls ``on_train_batch_end`` on other threads, late and in any order, or else synchronises every step. The step
recorder calls instead, when an execution of the train function has returned. Each callback has a policy that says for
which step it waits next. So the schedule knows how many executions there are until the first of them, and counts these
down. Only then it looks: it brings the clock up to date, calls the callbacks that have something due, and plans anew.
Steps of a callback that needs no look come in between; see :mod:`tf_hfwb.fit.foreseen_steps`.

Where the trainer lets several batches make one update, such a group is what is called a batch here, as Keras counts.

Until the clock is settled it looks after every execution. It also looks often enough for the step recorder, which
forgets losses that nobody has read.
"""

from __future__ import annotations

from typing import Protocol

from tf_hfwb.fit.foreseen_steps import RegularSteps
from tf_hfwb.fit.step_clock import StepClock
from tf_hfwb.keras_compat import BatchGroups, Host, Logs, StepRecorder
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.step_policies import EverySteps, Policy


class StepListener(Protocol):
    """What the schedule calls, always on the training thread."""

    @property
    def policy(self) -> Policy:
        """For which steps :meth:`on_due_step_end` is to be called."""

    def on_due_step_end(self, logs: Logs) -> None:
        """A step has ended for which the policy is due."""

    def on_quiet_look(self, batches: int) -> None:
        """So many batches were trained on since the last look, and nothing is due."""

    def on_planned(self) -> None:
        """The schedule has planned anew: it knows at which execution the listener's next step is to come."""

    @property
    def takes_regular_steps(self) -> bool:
        """Whether :meth:`on_regular_step` may be called in place of :meth:`on_due_step_end`."""

    def on_regular_step(self, steps: RegularSteps, executions: int, logs: Logs) -> None:
        """One of the foreseen steps has ended, so many executions after the last look."""


class StepSchedule:
    """The steps of one fit, for all its callbacks.

    Args:
        host: The model.
        recorder: What it has really trained on.
        clock: The global step.
        is_epoch_over: Whether the epoch has ended and the next one has not begun; not when the fit was stopped in its
            middle.
        steps_per_epoch: The batches of an epoch, as Keras was told; None where it does not know them.
        start: Where the fit begins.

    Attributes:
        clock: The global step.
        epoch: The epoch, from 0.
        epoch_batches: The batches of the epoch that were trained on, as of the last look.
        batches: Those of all epochs since the very first start, as of the last look.
        steps_per_epoch: The batches of an epoch. Where Keras does not know them, those of the last whole one.
    """

    def __init__(
        self, host: Host, recorder: StepRecorder, clock: StepClock, steps_per_epoch: int | None, start: Position
    ) -> None:
        self._hooks = recorder.hooks
        self.clock = clock
        self.epoch, self.epoch_batches, self.batches = start.epoch, start.batch, start.batches
        self.steps_per_epoch = steps_per_epoch
        self._host = host
        self._groups = BatchGroups() if host.accumulation is None else host.accumulation.groups
        self._planned_steps = steps_per_epoch
        self._skipped_batches = start.batch
        self._stride = host.steps_per_execution
        # An execution of several batches of unknown data may end early, and Keras does not say so. Where Keras tunes
        # their number, it is not known either.
        self._must_count = host.tunes_steps_per_execution or (self._stride > 1 and steps_per_epoch is None)
        self._longest_quiet = recorder.size // 2
        self._listeners: list[StepListener] = []
        self._due_steps: dict[int, int | None] = {}  # By the listener's identity, as of the last plan.
        self._executions = 0  # From the last look to the next one.
        self._executions_left = 0
        self._regular: tuple[list[StepListener], RegularSteps] | None = None
        self._regular_executions = 0  # From the last look to the last regular step.
        self._last_look = 0  # The batches that were counted then.
        self.is_epoch_over = False
        self._begun_epoch: int | None = None
        self._ended_epoch: int | None = None

    def add(self, listener: StepListener) -> None:
        """Call the listener too; in the order in which they are added."""
        self._listeners.append(listener)
        self._due_steps[id(listener)] = None

    # -- asked by callbacks ----------------------------------------------------------------------------------------

    @property
    def is_foreseeable(self) -> bool:
        """Whether it is known at which execution a step will be reached."""
        return self.clock.is_settled and not self.clock.must_confirm and not self._must_count

    def next_batch(self) -> tuple[int, int]:
        """The epoch and the batch in it with which training continues, as of the last look."""
        return (self.epoch + 1, 0) if self.is_epoch_over else (self.epoch, self.epoch_batches)

    def position(self) -> tuple[int, float]:
        """The global step and the epoch as of now, between two looks too.

        The epoch has a fraction, except while the number of its batches is unknown, as with a generator.
        """
        executions = self._executions - self._executions_left
        batches = self._batches_in(executions) if executions else 0
        return self.clock.after(batches), self.epoch_after(batches)

    def epoch_after(self, batches: int) -> float:
        """The epoch with its fraction after so many batches since the last look."""
        if not self.steps_per_epoch:
            return float(self.epoch)
        return self.epoch + self._groups.share_after(self.epoch_batches + batches, self.steps_per_epoch)

    def data_position(self) -> Position:
        """Where training continues, in batches of the data, as of the last look."""
        epoch, batch = self.next_batch()
        accumulation = self._host.accumulation
        if accumulation is None:
            return Position(self.clock.step, epoch, batch, self.batches)
        return Position(self.clock.step, epoch, batch and accumulation.epoch_batches, accumulation.batches)

    def step_now(self) -> int:
        """The global step as of now, for any thread: without asking the device."""
        return self.clock.after((self._executions - self._executions_left) * self._stride)

    def counter_now(self) -> int:
        """Likewise the optimizer's counter."""
        return self.clock.iterations + (self._executions - self._executions_left) * self._stride

    def batches_until_due(self, listener: StepListener) -> tuple[int, int] | None:
        """The execution at which the listener's next step is to come: the batches before it, and those by its end.

        None when that may be another one than the next look.
        """
        step = self._due_steps[id(listener)]
        if step is None or step > self.clock.after(self._executions * self._stride):
            return None
        return (self._executions - 1) * self._stride, self._executions * self._stride

    def batches_left(self) -> int | None:
        """The batches of the epoch that are left, as of the last look; None where Keras does not know them."""
        return None if self._planned_steps is None else self._planned_steps - self.epoch_batches

    # -- called during the fit ---------------------------------------------------------------------------------------

    def execution_ended(self, logs: Logs) -> None:
        """The train function has returned. This runs at every step."""
        self._executions_left -= 1
        if self._executions_left <= 0:
            self._look(self._batches_in(self._executions), logs)
        elif self._regular is not None:
            executions = self._executions - self._executions_left
            listeners, steps = self._regular
            if steps.is_due_after(executions):
                self._regular_executions = executions
                for listener in listeners:
                    listener.on_regular_step(steps, executions, logs)

    def begin_epoch(self, epoch: int) -> None:
        """Start to count the epoch's batches; called by each callback, and done once."""
        if self._begun_epoch == epoch:
            return
        self._begun_epoch = epoch
        self.is_epoch_over = self._hooks.has_data_ended = self._hooks.is_cut_short = False
        self.epoch, self.epoch_batches, self._skipped_batches = epoch, self._skipped_batches, 0
        self._plan()

    def end_epoch(self, epoch: int) -> None:
        """Count the batches since the last look. Called by each callback, and done once."""
        if self._ended_epoch == epoch:
            return
        self._ended_epoch = epoch
        batches = self.clock.uncounted_batches()
        if batches is None:
            batches = self._batches_in(self._executions - self._executions_left)
        self._count(batches)
        if self.is_cut_short:
            self.batches += self.batches_left() or 0
        self.clock.finish_epoch()
        self.is_epoch_over = self._has_seen_all_data()
        if self._planned_steps is None and self.is_epoch_over:
            self.steps_per_epoch = self.epoch_batches

    @property
    def is_cut_short(self) -> bool:
        """Whether the epoch ends with the steps that were made so far."""
        return self._hooks.is_cut_short

    def cut_epoch_short(self) -> None:
        """Make no more steps in this epoch. Keras runs through the rest of its batches without training on them."""
        self._hooks.is_cut_short = True
        executions = self._executions - self._executions_left
        left = self.batches_left()
        self._hooks.batches_to_skip = None if left is None else left - self._batches_in(executions)

    def _has_seen_all_data(self) -> bool:
        if self.is_cut_short:
            return True
        has_data_ended, is_stopped = self._hooks.has_data_ended, self._host.model.stop_training
        if self._planned_steps is not None:
            # Keras 3 ends an epoch in front of its last steps, too, where a pass over stored data ends.
            return self.epoch_batches >= self._planned_steps or not (has_data_ended or is_stopped)
        # A callback of Keras's may have stopped the fit at the end of this epoch, in front of ours.
        return has_data_ended or not is_stopped

    def catch_up(self) -> None:
        """Look now, before the next execution."""
        executions = self._executions - self._executions_left
        if executions:
            self._look(self._batches_in(executions), {})

    def call(self, listener: StepListener, logs: Logs) -> None:
        """Call a listener for what was counted last, if it was not called for that yet."""
        due = self._due_steps[id(listener)]
        if due is not None and self.clock.step >= due:
            self._due_steps[id(listener)] = None
            listener.on_due_step_end(logs)
        else:
            listener.on_quiet_look(self._last_look)

    def _look(self, batches: int, logs: Logs) -> None:
        self._count(batches)
        for listener in self._listeners:
            self.call(listener, logs)
        self._plan()

    def _count(self, batches: int) -> None:
        clock = self.clock
        self._executions_left = self._executions  # None since this look.
        if self._regular is not None and self._regular_executions:
            listeners, steps = self._regular
            last = steps.step_after(self._regular_executions)
            for listener in listeners:
                self._due_steps[id(listener)] = listener.policy.next_due(last)
        self._regular, self._regular_executions = None, 0
        clock.advance(batches)
        self._last_look = batches
        self.epoch_batches += batches
        self.batches += batches
        if clock.must_confirm and any(due is not None and clock.step >= due for due in self._due_steps.values()):
            clock.confirm()

    def _plan(self) -> None:
        """Find the execution that reaches the first of the steps that are due."""
        clock, batches = self.clock, self._longest_quiet
        for listener in self._listeners:
            step = listener.policy.next_due(clock.step)
            self._due_steps[id(listener)] = step
            if step is not None:
                batches = min(batches, clock.batches_until(step))
        executions = 1
        if clock.is_settled and not self._must_count:
            executions = self._foresee_regular_steps() or max(1, -(-batches // self._stride))
        self._executions = self._executions_left = executions
        for listener in self._listeners:
            listener.on_planned()

    def _foresee_regular_steps(self) -> int | None:
        """The executions until the next look, if some of the listeners' steps come before it.

        These listeners have the same policy as the first one that needs no look.
        """
        taking = [one for one in self._listeners if one.takes_regular_steps]
        listeners = [one for one in taking if one.policy == taking[0].policy]
        due = self._due_steps[id(listeners[0])] if listeners else None
        if due is None or not self.is_foreseeable:
            return None
        period = self._period_of(listeners[0].policy)
        if period is None:
            return None
        clock = self.clock
        first = max(1, -(-clock.batches_until(due) // self._stride))
        count = 1 + (self._batches_until_others(listeners) // self._stride - first) // period
        if count < 2:
            return None
        steps = RegularSteps(
            first=first,
            period=period,
            stride=self._stride,
            updates=clock.updates,
            accumulation=clock.accumulation,
            offset=clock.offset,
            epoch=self.epoch,
            epoch_batches=self.epoch_batches,
            steps_per_epoch=self.steps_per_epoch,
            groups=self._groups,
        )
        self._regular = listeners, steps
        return first + (count - 1) * period

    def _period_of(self, policy: Policy) -> int | None:
        """The executions from one due step to the next; None if their number varies."""
        if not isinstance(policy, EverySteps):
            return None
        batches = policy.steps * self._host.accumulation_steps
        if batches % self._stride == 0:
            return batches // self._stride
        return 1 if batches < self._stride and self._host.accumulation_steps == 1 else None

    def _batches_until_others(self, listeners: list[StepListener]) -> int:
        """The batches until the schedule must look for another reason than these listeners' steps."""
        batches, left = self._longest_quiet, self.batches_left()
        if left is not None:
            batches = min(batches, left)
        for other in self._listeners:
            due = self._due_steps[id(other)]
            if other not in listeners and due is not None:
                batches = min(batches, self.clock.batches_until(due))
        return batches

    def _batches_in(self, executions: int) -> int:
        """The batches in so many executions; the last of an epoch may be a shorter one."""
        batches = executions * self._stride
        if self._must_count:
            recorded = self.clock.uncounted_batches()
            return batches if recorded is None else recorded
        if self._stride == 1:
            return batches
        left = self.batches_left()
        if left is None or batches <= left:
            return batches
        recorded = self.clock.uncounted_batches()  # Keras 3 trains beyond the epoch, where there is data.
        return left if recorded is None else recorded
