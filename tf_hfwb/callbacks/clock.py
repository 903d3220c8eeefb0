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
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import Host, StepRecorder, difference

# The last global step of each model: compiling anew starts the optimizer's counter, but not the clock, at zero.
_last_steps: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


class StepClock:
    """The global step of one fit.

    Args:
        host: The model that is trained.
        recorder: What it has really trained on.
        initial_step: The global step at the start, when the optimizer's counter does not know it.

    Attributes:
        predictable: Whether :meth:`after` can be trusted never to be too low.
    """

    def __init__(self, host: Host, recorder: StepRecorder | None = None, initial_step: int = 0) -> None:
        self._host = host
        self._recorder = recorder
        self._captured = np.zeros(0) if recorder is None else np.asarray(recorder.capture())
        self._recorded = 0
        self._batches = 0
        self._accumulation = host.accumulation_steps
        self._looks = 0
        counted = host.iterations()
        self._has_counter = counted is not None
        self._updates = counted or 0  # The optimizer's counter, in batches, as far as we count it.
        self._spurious = 0  # By how much the counter itself is ahead of that.
        self.predictable = True
        known = max(_last_steps.get(host.model, 0), initial_step)
        self._offset = max(0, known - self._updates // self._accumulation)

    @property
    def step(self) -> int:
        """The number of optimizer updates since the very first start."""
        return self.after(0)

    @property
    def iterations(self) -> int:
        """The optimizer's own counter, which its schedule is a function of."""
        return self._updates + self._spurious

    def after(self, batches: int) -> int:
        """The global step expected after so many more batches."""
        return (self._updates + batches) // self._accumulation + self._offset

    def batches_until(self, step: int) -> int:
        """The batches expected until ``step`` is reached."""
        return (step - self._offset) * self._accumulation - self._updates

    @property
    def settled(self) -> bool:
        """Whether the first looks have shown how this fit counts, and counting is enough from now on."""
        return self.predictable and (self._looks >= 2 or not self._has_counter)

    def advance(self, batches: int) -> None:
        """So many more batches have been trained on."""
        self._batches += batches
        expected = self._updates + batches
        if self._has_counter and (self._looks < 2 or not self.predictable):
            self._looks += 1
            counted = (self._host.iterations() or 0) - self._spurious
            self.predictable = self.predictable and counted <= expected
            self._updates = counted
        else:
            self._updates = expected

    def confirm(self) -> None:
        """Before a row is written: ask the optimizer where it may have skipped updates. Waits for the device."""
        if self._has_counter and self._host.may_skip_steps:
            self._updates = (self._host.iterations() or 0) - self._spurious

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
        if self._has_counter and self.predictable and not self._host.may_skip_steps:
            self._spurious = max(0, (self._host.iterations() or 0) - self._updates)

    def stop(self) -> None:
        """Remember the step for the model's next fit."""
        _last_steps[self._host.model] = self.step
