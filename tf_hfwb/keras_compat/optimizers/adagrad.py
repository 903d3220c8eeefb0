"""Adagrad as PyTorch computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat.optimizers.update_rule import Shape, Update, UpdateRule, decayed_gradient


@dataclass(frozen=True)
class Adagrad(UpdateRule):
    """Adagrad, whose sum of squares begins with 0, and whose epsilon stands outside of the root.

    Args:
        lr_decay: By how much of itself the divisor of the rate grows at each step.
        eps: What is added to the root of the sum.

    Follows ``torch.optim.Adagrad``.
    """

    lr_decay: float = 0.0
    eps: float = 1e-10

    def slots(self, shape: Shape, axes: tuple[int, int]) -> dict[str, Shape]:
        """The sum of the squared gradients."""
        return {"accumulator": shape}

    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """See :class:`UpdateRule`."""
        gradient = decayed_gradient(weight, gradient, update)
        accumulator = slots["accumulator"] + gradient * gradient
        rate = update.rate / (1.0 + (update.number - 1.0) * self.lr_decay) if self.lr_decay else update.rate
        return weight - gradient * rate / (ops.sqrt(accumulator) + self.eps), {"accumulator": accumulator}
