"""The global step, counted without asking the model at every step.

Reading the optimizer's counter waits for the device. So between two looks the clock trusts the batches that Keras
reports, and asks where they can be wrong: the step recorder at the end of an epoch (under ``steps_per_execution``
Keras 3 overshoots there, and a generator ends where another batch was begun), and the optimizer's counter with loss
scaling (skipped steps) and at the first two looks of a fit, where a train step that updates the optimizer more than
once shows itself. The optimizer's counter is not trusted at the end of a generator: TensorFlow increments it in the
very step that then finds no data.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import Host, StepRecorder, difference

# The last global step of each model: compiling anew starts the optimizer's counter, but not the clock, at zero.
_last_steps: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def forget_steps(model: Any) -> None:
    """Let the model's next fit count from 0, whatever it was trained on before."""
    _last_steps.pop(model, None)


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
        must_confirm: Whether :meth:`confirm` can change anything.
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
        self._looks_left = 2 if self._has_counter else 0
        self.must_confirm = self._has_counter and host.may_skip_steps
        self.settled = not self._has_counter
        self._updates = counted or 0  # The optimizer's counter, in batches, as far as we count it.
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
        expected = self._updates + batches
        if self.settled:
            self._updates = expected
        else:
            self._updates = (self._host.iterations() or 0) - self._spurious
            self._looks_left -= 1
            # A train step that has once updated the optimizer more than once is asked at every look.
            self._looks_left = 2**63 if self._updates > expected else self._looks_left
            self.settled = self._looks_left <= 0
        self.step = self._updates // self._accumulation + self._offset

    def confirm(self) -> None:
        """Before a row is written: ask the optimizer where it may have skipped updates. Waits for the device."""
        self._updates = (self._host.iterations() or 0) - self._spurious
        self.step = self.after(0)

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
        if self._has_counter and self.settled and not self.must_confirm:
            self._spurious = max(0, (self._host.iterations() or 0) - self._updates)

    def stop(self) -> None:
        """Remember the step for the model's next fit."""
        _last_steps[self._host.model] = self.step
