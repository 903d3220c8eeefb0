"""Adafactor as transformers computes it, with a learning rate from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat.optimizers.update_rule import Shape, Update, UpdateRule, decayed_weight

_SMALLEST = 1e-30  # Added to squared gradients.


@dataclass(frozen=True)
class Adafactor(UpdateRule):
    """Adafactor, which keeps means of squares over the rows and the columns of a matrix, and not of each value.

    Args:
        clip_threshold: The root of the mean square to which the change of a weight is clipped, before the rate.
        decay_rate: The power of the step's number by which new squares count less and less.
        beta1: The share of the earlier change that is kept; None to keep none.

    Follows ``transformers.Adafactor`` with ``scale_parameter=False, relative_step=False``, as the ``Trainer`` makes it.
    """

    clip_threshold: float = 1.0
    decay_rate: float = -0.8
    beta1: float | None = None

    def slots(self, shape: Shape, axes: tuple[int, int]) -> dict[str, Shape]:
        """The means over rows and columns, of vectors those of each value; and the earlier change."""
        if len(shape) < 2:
            slots = {"square": shape}
        else:
            slots = {"rows": _without(shape, axes[1]), "columns": _without(shape, axes[0])}
        return slots if self.beta1 is None else {**slots, "momentum": shape}

    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """See :class:`UpdateRule`."""
        share = update.number**self.decay_rate
        square = gradient * gradient + _SMALLEST
        if "square" in slots:
            new = {"square": slots["square"] + (square - slots["square"]) * share}
            change = gradient * ops.rsqrt(new["square"])
        else:
            row, column = update.axes
            rows, columns = (ops.mean(square, axis=axis, keepdims=True) for axis in (column, row))
            rows = slots["rows"] + (rows - slots["rows"]) * share
            columns = slots["columns"] + (columns - slots["columns"]) * share
            new = {"rows": rows, "columns": columns}
            of_rows = ops.rsqrt(rows / ops.mean(rows, axis=row, keepdims=True))
            change = gradient * (of_rows * ops.rsqrt(columns))
        size = ops.sqrt(ops.mean(change * change))
        change = change * (update.rate / ops.maximum(size / self.clip_threshold, 1.0))
        if self.beta1 is not None:
            change = new["momentum"] = slots["momentum"] * self.beta1 + change * (1.0 - self.beta1)
        return decayed_weight(weight, update) - change, new


def _without(shape: Shape, axis: int) -> Shape:
    """The shape of a mean over one axis."""
    lengths = list(shape)
    lengths[axis] = 1
    return tuple(lengths)
