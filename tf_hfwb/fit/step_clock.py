"""The global step, counted without asking the model at every step.

Reading the optimizer's counter waits for the device. So between two looks the clock trusts the batches that Keras
reports, and asks where they can be wrong: the step recorder at the end of an epoch (under ``steps_per_execution``
Keras 3 overshoots there, and a generator ends where another batch was begun), and the optimizer's counter

* at the first two looks of a fit and at the end of each epoch;
* when something is due, with loss scaling, which skips steps, and with a train step or an optimizer of the user's;
* at every look from then on, once another number of updates than of batches was found: accumulation by hand, or several
  updates a batch.

The optimizer's counter is not trusted at the end of a generator: TensorFlow increments it in the very step that then
finds no data.

A model may have several optimizers. What counts is ``model.optimizer`` if it moves, else the one that moves least.
"""

from __future__ import annotations

import numpy as np

from tf_hfwb.fit.between_fits import memory_of
from tf_hfwb.keras_compat import Host, StepRecorder, difference

_ALWAYS = 2**63  # As many looks.


def step_reached(host: Host, initial_step: int = 0, resumed_step: int | None = None) -> int:
    """The global step at which a fit that begins now would start.

    Args:
        host: The model.
        initial_step: The step as the user knows it, where neither the optimizer's counter nor an earlier fit does.
        resumed_step: The step of the checkpoint from which the fit resumes; it counts, whatever the counters say.
    """
    if resumed_step is not None:
        return resumed_step
    return max(memory_of(host.model).step_by(host, host.iterations() or 0), initial_step)


class StepClock:
    """The global step of one fit.

    Args:
        host: The model that is trained.
        recorder: What it has really trained on.
        step: The global step at the start, of :func:`step_reached`.

    Attributes:
        step: The number of optimizer updates since the very first start.
        is_settled: Whether the first looks have shown that an update never counts for more than a batch, so that
            :meth:`after` can be trusted never to be too low.
        must_confirm: Whether :meth:`confirm` can change anything between the ends of epochs.
    """

    def __init__(self, host: Host, recorder: StepRecorder, step: int) -> None:
        self._host = host
        self._recorder = recorder
        self._captured = np.asarray(recorder.capture())
        self._recorded = 0
        self._batches = 0
        self._accumulation = host.accumulation_steps
        counted = host.iterations()
        self._has_counter = counted is not None
        self._looks, self._looks_left = 0, 2 if self._has_counter else 0
        self.must_confirm = self._has_counter and (host.may_skip_steps or host.has_own_step)
        self._others = host.other_iterations() if host.counts_by is None else {}
        self.is_settled = not self._has_counter
        self._updates = counted or 0  # The optimizer's counter, in batches, as far as it is known.
        self._first = self._updates
        self._spurious = 0  # By how much the counter itself is ahead of _updates.
        self._offset = step - self._updates // self._accumulation
        self.step = step

    @property
    def iterations(self) -> int:
        """The optimizer's own counter, which its schedule is a function of."""
        return self._updates + self._spurious

    def after(self, batches: int) -> int:
        """The global step expected after so many more batches."""
        return (self._updates + batches) // self._accumulation + self._offset

    @property
    def updates(self) -> int:
        """The updates so far, in batches."""
        return self._updates

    @property
    def accumulation(self) -> int:
        """The batches of one update."""
        return self._accumulation

    @property
    def offset(self) -> int:
        """What is added to the updates of this fit's counter for the global step."""
        return self._offset

    def batches_until(self, step: int) -> int:
        """The batches expected until ``step`` is reached."""
        return (step - self._offset) * self._accumulation - self._updates

    def updates_by(self, batches: int) -> int:
        """How many of the next so many batches it takes to the last update among them; 0 or less for none."""
        return (self.iterations + batches) // self._accumulation * self._accumulation - self.iterations

    def advance(self, batches: int) -> None:
        """So many more batches have been trained on."""
        self._batches += batches
        if self.is_settled:
            self._updates += batches
        elif not batches:  # The end of an epoch.
            self._spurious = max(self._spurious, (self._host.iterations() or 0) - self._updates)
        else:
            self._look(batches)
        self.step = self._updates // self._accumulation + self._offset

    def _look(self, batches: int) -> None:
        """One of the looks at the counter that show how far batches can be trusted."""
        if self._others:
            self._choose_counter()
        self._looks += 1
        self._looks_left -= 1
        self._ask(self._updates + batches)
        self.is_settled = self._looks_left <= 0
        if self._looks == 2 and self._updates == self._first and self._host.has_own_optimizer:
            self._count_batches()

    def confirm(self) -> None:
        """Before a row is written: ask the optimizer where it may have skipped updates. Waits for the device."""
        self._ask(self._updates)
        self.step = self.after(0)

    def _ask(self, expected: int) -> None:
        self._updates = (self._host.iterations() or 0) - self._spurious
        if self._updates > expected or (self._updates < expected and not self._host.may_skip_steps):
            self.is_settled, self._looks_left = False, _ALWAYS

    def _count_batches(self) -> None:
        """The user's optimizer does not count at all."""
        self._has_counter = self.must_confirm = False
        self.is_settled = True
        self._updates = self._first + self._batches

    def _choose_counter(self) -> None:
        """Of several optimizers, at the first look: the one that counts, if it is another than ``model.optimizer``."""
        before, self._others = self._others, {}
        now = self._host.other_iterations()
        moved = {name: now[name] - count for name, count in before.items() if now[name] > count}
        if not moved or self._host.iterations() != self.iterations:
            return
        name = min(moved, key=lambda name: moved[name])
        self._host.count_by(name)
        step = self.after(0)
        self._updates = self._first = before[name]
        self._spurious, self._accumulation = 0, self._host.accumulation_steps
        self._offset += step - self.after(0)

    def uncounted_batches(self) -> int | None:
        """The batches trained on that this clock has not counted; None if nobody knows. Waits for the device."""
        captured = np.asarray(self._recorder.capture())
        self._recorded += difference(self._captured, captured, self._host.num_replicas).train_batches
        self._captured = captured
        return self._recorded - self._batches if self._recorded else None

    def finish_epoch(self) -> None:
        """See whether the optimizer counted a step for which there was no batch."""
        if self._has_counter and self.is_settled:
            counted = (self._host.iterations() or 0) - self._spurious
            if counted < self._updates:
                self.confirm()
            elif not self._host.may_skip_steps:
                self._spurious += counted - self._updates
