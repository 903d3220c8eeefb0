"""Lion, which moves every weight by the learning rate, one way or the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat.optimizers.update_rule import Shape, Update, UpdateRule, decayed_weight


@dataclass(frozen=True)
class Lion(UpdateRule):
    """The sign of a mean of gradients.

    Args:
        beta_1: The share of the earlier mean in the direction.
        beta_2: The decay of that mean.

    Follows ``Lion`` of bitsandbytes, which the ``Trainer`` of transformers uses, in 32 bits.
    """

    beta_1: float = 0.9
    beta_2: float = 0.99

    def slots(self, shape: Shape, axes: tuple[int, int]) -> dict[str, Shape]:
        """The mean of the gradients."""
        return {"momentum": shape}

    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """See :class:`UpdateRule`."""
        direction = ops.sign(slots["momentum"] * self.beta_1 + gradient * (1.0 - self.beta_1))
        momentum = slots["momentum"] * self.beta_2 + gradient * (1.0 - self.beta_2)
        return decayed_weight(weight, update) - direction * update.rate, {"momentum": momentum}
