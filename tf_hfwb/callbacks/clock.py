"""The global step, counted without asking the model at every step.

Reading the optimizer's counter waits for the device. So between two looks the clock trusts the batches that Keras
reports, and asks the counter where they can be wrong: under ``steps_per_execution`` (Keras 3 overshoots at the end of
an epoch), with loss scaling (skipped steps), at the end of an epoch (a generator's last batch may not have been one),
and at the first two looks of a fit, where a train step that updates the optimizer more than once shows itself.
"""

from __future__ import annotations

import weakref
from typing import Any

from tf_hfwb.keras_compat import Host

# The last global step of each model: compiling anew starts the optimizer's counter, but not the clock, at zero.
_last_steps: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


class StepClock:
    """The global step of one fit.

    Args:
        host: The model that is trained.
        initial_step: The global step at the start, when the optimizer's counter does not know it.

    Attributes:
        iterations: The optimizer's own counter, in batches.
        predictable: Whether :meth:`after` can be trusted never to be too low.
    """

    def __init__(self, host: Host, initial_step: int = 0) -> None:
        self._host = host
        self._accumulation = host.accumulation_steps
        self._must_confirm = host.may_skip_steps or host.steps_per_execution > 1
        self._looks = 0
        counted = host.iterations()
        self._has_counter = counted is not None
        self.iterations = counted or 0
        self.predictable = True
        known = max(_last_steps.get(host.model, 0), initial_step)
        self._offset = max(0, known - self.iterations // self._accumulation)

    @property
    def step(self) -> int:
        """The number of optimizer updates since the very first start."""
        return self.after(0)

    def after(self, batches: int) -> int:
        """The global step expected after so many more batches."""
        return (self.iterations + batches) // self._accumulation + self._offset

    def advance(self, batches: int) -> None:
        """So many more batches have been trained on."""
        expected = self.iterations + batches
        if self._has_counter and (self._looks < 2 or not self.predictable):
            self._looks += 1
            self.iterations = self._host.iterations() or 0
            self.predictable = self.predictable and self.iterations <= expected
        else:
            self.iterations = expected

    @property
    def counts_batches(self) -> bool:
        """Whether the optimizer's counter moves by one with each batch."""
        return self._has_counter and self.predictable and not self._host.may_skip_steps

    def confirm(self) -> None:
        """Before a row is written: ask the optimizer where counting batches may be wrong. Waits for the device."""
        if self._must_confirm and self._has_counter:
            self.iterations = self._host.iterations() or 0

    def uncounted_batches(self) -> int:
        """The batches that the optimizer has counted and this clock has not. Waits for the device."""
        return (self._host.iterations() or 0) - self.iterations

    def stop(self) -> None:
        """Remember the step for the model's next fit."""
        _last_steps[self._host.model] = self.step
