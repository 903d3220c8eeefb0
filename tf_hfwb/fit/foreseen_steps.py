"""Steps that come at every so many executions of the train function, foreseen when the schedule looks.

A row at every step would make the schedule look after every execution, and these looks would be most of what a row
costs the training thread. So while nothing else is due, a callback that can do without a look is only told how many
executions there were. Which step and epoch that is can be worked out later, on another thread.
"""

from __future__ import annotations

from typing import NamedTuple

from tf_hfwb.keras_compat import BatchGroups


class RegularSteps(NamedTuple):
    """Steps of one callback, until the next look.

    Attributes:
        first: The execution that reaches the first of them, counted from 1 at the last look.
        period: The executions from one to the next.
        stride: The batches of one execution.
        updates: The updates at the last look, in batches.
        accumulation: The batches of one update.
        offset: What is added to these updates for the global step.
        epoch: The epoch, from 0.
        epoch_batches: The batches of the epoch at the last look.
        steps_per_epoch: The batches of the epoch; None where Keras does not know them.
        groups: The batches of which each of these is made, where gradients are accumulated.
    """

    first: int
    period: int
    stride: int
    updates: int
    accumulation: int
    offset: int
    epoch: int
    epoch_batches: int
    steps_per_epoch: int | None
    groups: BatchGroups

    def is_due_after(self, executions: int) -> bool:
        """Whether so many executions end with one of the steps."""
        return executions >= self.first and (executions - self.first) % self.period == 0

    def step_after(self, executions: int) -> int:
        """The global step after so many executions."""
        return (self.updates + executions * self.stride) // self.accumulation + self.offset

    def epoch_after(self, executions: int) -> float:
        """The epoch, with its fraction, after so many executions."""
        if not self.steps_per_epoch:
            return float(self.epoch)
        done = self.epoch_batches + executions * self.stride
        return self.epoch + self.groups.share_after(done, self.steps_per_epoch)
