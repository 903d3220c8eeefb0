"""Stochastic gradient descent as PyTorch computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat.optimizers.update_rule import Shape, Update, UpdateRule, decayed_gradient


@dataclass(frozen=True)
class SGD(UpdateRule):
    """Gradient descent with momentum, whose sum of gradients is free of the learning rate.

    Keras sums gradients times their rates, which differs wherever the rate changes.

    Args:
        momentum: The share of the earlier sum that is kept.
        dampening: The share of a gradient that is left out of the sum, except of the first one.
        nesterov: Whether to look ahead by one momentum.

    Follows ``torch.optim.SGD``.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False

    def slots(self, shape: Shape, axes: tuple[int, int]) -> dict[str, Shape]:
        """The sum of the gradients."""
        return {"momentum": shape} if self.momentum else {}

    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """See :class:`UpdateRule`."""
        gradient = decayed_gradient(weight, gradient, update)
        if not self.momentum:
            return weight - gradient * update.rate, {}
        share = 1.0 - self.dampening * ops.minimum(update.number - 1.0, 1.0) if self.dampening else 1.0
        momentum = slots["momentum"] * self.momentum + gradient * share
        direction = gradient + momentum * self.momentum if self.nesterov else momentum
        return weight - direction * update.rate, {"momentum": momentum}
