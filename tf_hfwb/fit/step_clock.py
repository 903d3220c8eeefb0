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

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import Host, StepRecorder, difference

_ALWAYS = 2**63  # As many looks.

# The last global step of each model: compiling anew starts the optimizer's counter, but not the clock, at zero.
_last_steps: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def forget_steps(host: Host) -> None:
    """Let the model's next fit count from 0, whatever it was trained on before."""
    _last_steps.pop(host.model, None)
    host.record_steps().fit.when_interrupted.clear()


class StepClock:
    """The global step of one fit.

    Args:
        host: The model that is trained.
        recorder: What it has really trained on.
        initial_step: The global step at the start, when the optimizer's counter does not know it.
        resumed_step: The global step that a restored training has reached, whatever the counters say.

    Attributes:
        step: The number of optimizer updates since the very first start.
        settled: Whether the first looks have shown that an update never counts for more than a batch, so that
            :meth:`after` can be trusted never to be too low.
        must_confirm: Whether :meth:`confirm` can change anything between the ends of epochs.
    """

    def __init__(
        self,
        host: Host,
        recorder: StepRecorder | None = None,
        initial_step: int = 0,
        resumed_step: int | None = None,
    ) -> None:
        self._host = host
        self._recorder = recorder
        self._captured = np.zeros(0) if recorder is None else np.asarray(recorder.capture())
        self._recorded = 0
        self._batches = 0
        self._accumulation = host.accumulation_steps
        counted = host.iterations()
        self._has_counter = counted is not None
        self._looks, self._looks_left = 0, 2 if self._has_counter else 0
        self.must_confirm = self._has_counter and (host.may_skip_steps or host.has_own_step)
        self._others = host.other_iterations() if host.counts_by is None else {}
        self.settled = not self._has_counter
        self._updates = counted or 0  # The optimizer's counter, in batches, as far as we count it,
        self._first = self._updates  # and as it was at the begin.
        self._spurious = 0  # By how much the counter itself is ahead of that.
        known = max(_last_steps.get(host.model, 0), initial_step)
        self._offset = max(0, known - self._updates // self._accumulation)
        if resumed_step is not None:
            self._offset = resumed_step - self._updates // self._accumulation
        self.step = self.after(0)

    @property
    def iterations(self) -> int:
        """The optimizer's own counter, which its schedule is a function of."""
        return self._updates + self._spurious

    def after(self, batches: int) -> int:
        """The global step expected after so many more batches."""
        return (self._updates + batches) // self._accumulation + self._offset

    def counting_on(self) -> Callable[[int], int]:
        """What :meth:`after` gives as of now, whatever happens to the clock; for another thread."""
        updates, accumulation, offset = self._updates, self._accumulation, self._offset
        return lambda batches: (updates + batches) // accumulation + offset

    def batches_until(self, step: int) -> int:
        """The batches expected until ``step`` is reached."""
        return (step - self._offset) * self._accumulation - self._updates

    def updates_by(self, batches: int) -> int:
        """How many of the next so many batches it takes to the last update among them; 0 or less for none."""
        return (self.iterations + batches) // self._accumulation * self._accumulation - self.iterations

    def advance(self, batches: int) -> None:
        """So many more batches have been trained on."""
        self._batches += batches
        if self.settled:
            self._updates += batches
        elif not batches:  # The end of an epoch.
            self._spurious = max(self._spurious, (self._host.iterations() or 0) - self._updates)
        else:
            if self._others:
                self._choose_counter()
            self._looks += 1
            self._looks_left -= 1
            self._ask(self._updates + batches)
            self.settled = self._looks_left <= 0
            if self._looks == 2 and self._updates == self._first and self._host.has_own_optimizer:
                self._count_batches()
        self.step = self._updates // self._accumulation + self._offset

    def confirm(self) -> None:
        """Before a row is written: ask the optimizer where it may have skipped updates. Waits for the device."""
        self._ask(self._updates)
        self.step = self.after(0)

    def _ask(self, expected: int) -> None:
        self._updates = (self._host.iterations() or 0) - self._spurious
        if self._updates > expected or (self._updates < expected and not self._host.may_skip_steps):
            self.settled, self._looks_left = False, _ALWAYS

    def _count_batches(self) -> None:
        """The user's optimizer does not count at all."""
        self._has_counter = self.must_confirm = False
        self.settled = True
        self._updates = self._first + self._batches

    def _choose_counter(self) -> None:
        """Of several optimizers, at the first look: the one that counts, if it is another than ``model.optimizer``."""
        before, self._others = self._others, {}
        now = self._host.other_iterations()
        moved = {name: now[name] - count for name, count in before.items() if now[name] > count}
        if self._host.counts_by is None and moved and self._host.iterations() == self.iterations:
            self._host.count_by(min(moved, key=lambda name: moved[name]))
        name = self._host.counts_by  # Perhaps as another callback's clock has found.
        if name is not None:
            step = self.after(0)
            self._updates = self._first = before[name]
            self._spurious, self._accumulation = 0, self._host.accumulation_steps
            self._offset += step - self.after(0)

    def uncounted_batches(self) -> int | None:
        """The batches trained on that this clock has not counted; None if nobody knows. Waits for the device."""
        if self._recorder is None:
            return None
        captured = np.asarray(self._recorder.capture())
        self._recorded += difference(self._captured, captured, self._host.num_replicas).train_batches
        self._captured = captured
        return self._recorded - self._batches if self._recorded else None

    def finish_epoch(self) -> None:
        """See whether the optimizer counted a step for which there was no batch."""
        if self._has_counter and self.settled:
            counted = (self._host.iterations() or 0) - self._spurious
            if counted < self._updates:
                self.confirm()
            elif not self._host.may_skip_steps:
                self._spurious += counted - self._updates

    def stop(self, step: int | None = None) -> None:
        """Remember the step for the model's next fit.

        Args:
            step: How far the fit got, if it did not end by itself; :attr:`step` when None.
        """
        _last_steps[self._host.model] = self.step if step is None else step
