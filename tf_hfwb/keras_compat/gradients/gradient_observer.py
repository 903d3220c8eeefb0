"""The gradients of a step, summarized in the training graph at the steps that are asked for.

The gradients are those that the optimizer uses: of the whole batch over all replicas, averaged over accumulated
batches, without the loss scale, and not clipped yet. ``optimizer_seams.py`` lets an optimizer show them.

There are two small variables. The *window* holds the optimizer's counter at the first and the last update to look at;
the training thread sets it in advance. The *record* holds a vector of ``histogram_bins.py`` for each
trained variable, and the counter at which it was written. Outside the window a step only compares its counter with the
window. A window passes by itself, so a fit without an observer is not slowed down by an observed one before it.

On TensorFlow the two variables belong to the observer, so they are never saved. On JAX only variables of the optimizer
are carried from step to step. There they are left out of what the optimizer saves.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat.gradients.histogram_bins import SIZE, Distribution, distribution_of_vector

MODULUS = 1 << 23  # The counter is written as float32, which counts exactly until there.


class GradientObserver(abc.ABC):
    """Observes the gradients that one optimizer gets. See ``optimizer_seams.py``.

    Args:
        variables: The trained variables; empty when the model is only built by its first batch.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self.variables: list[Any] = list(variables)

    @property
    def own_variables(self) -> tuple[Any, ...]:
        """The variables of this observer that are among the optimizer's."""
        return ()

    @abc.abstractmethod
    def look_at(self, first: int, last: int) -> None:
        """Write the record at each update between two values of the optimizer's counter, both included."""

    def look_away(self) -> None:
        """Stop writing the record."""
        self.look_at(-1, -1)

    @abc.abstractmethod
    def capture(self) -> Any:
        """The record as of now, for :func:`distributions`. Nothing is synchronised on TensorFlow."""

    @abc.abstractmethod
    def observe(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Inside the graph: write the record if the update is in the window."""

    def _placed(self, gradients: Sequence[Any], variables: Sequence[Any]) -> dict[int, Any]:
        """The gradients by the place of their variable."""
        places = {id(variable): place for place, variable in enumerate(self.variables)}
        pairs = zip(variables, gradients, strict=True)
        return {places[id(v)]: gradient for v, gradient in pairs if gradient is not None and id(v) in places}


def distributions(record: np.ndarray, first: int, last: int) -> dict[int, Distribution]:
    """The distribution of each variable's gradient, by the variable's index; empty if none was seen in the window.

    A step that is skipped, for example because its scaled loss overflows, has no gradients.

    Args:
        record: What :meth:`GradientObserver.capture` gave.
        first: The beginning of the window.
        last: The end of the window.
    """
    written = int(record[-1, 0])
    if written < 0 or (written - first) % MODULUS > last - first:
        return {}
    return {place: distribution_of_vector(row) for place, row in enumerate(record[:-1]) if not row[0] < 0}


def empty_record(number: int) -> np.ndarray:
    """The record of ``number`` variables before any gradient was seen."""
    return np.full([number + 1, SIZE], -1.0, np.float32)
