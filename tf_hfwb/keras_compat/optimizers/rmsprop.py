"""RMSprop as PyTorch computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat.optimizers.update_rule import Shape, Update, UpdateRule, decayed_gradient


@dataclass(frozen=True)
class RMSprop(UpdateRule):
    """RMSprop, whose epsilon stands outside of the root.

    Args:
        alpha: The decay of the mean of the squared gradients.
        eps: What is added to the root of that mean.
        momentum: The share of the earlier direction that is kept.
        centered: Whether the square of the gradients' own mean is subtracted, which leaves their variance.

    Follows ``torch.optim.RMSprop``.
    """

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def slots(self, shape: Shape, axes: tuple[int, int]) -> dict[str, Shape]:
        """The mean of the squared gradients and, if they are needed, that of the gradients and the direction."""
        names = ["velocity", *(["average"] if self.centered else []), *(["momentum"] if self.momentum else [])]
        return dict.fromkeys(names, shape)

    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """See :class:`UpdateRule`."""
        gradient = decayed_gradient(weight, gradient, update)
        new = {"velocity": slots["velocity"] * self.alpha + gradient * gradient * (1.0 - self.alpha)}
        variance = new["velocity"]
        if self.centered:
            new["average"] = slots["average"] + (gradient - slots["average"]) * (1.0 - self.alpha)
            variance = variance - new["average"] * new["average"]
        direction = gradient / (ops.sqrt(variance) + self.eps)
        if self.momentum:
            direction = new["momentum"] = slots["momentum"] * self.momentum + direction
        return weight - direction * update.rate, new
