"""AdamW as PyTorch computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat.optimizers.update_rule import Shape, Update, UpdateRule, decayed_weight, one_minus_power


@dataclass(frozen=True)
class AdamW(UpdateRule):
    """AdamW, with epsilon beside the corrected second moment.

    Keras adds epsilon before the correction for the first steps, where it then counts up to 31 times as much.

    Args:
        beta_1: The decay of the mean of the gradients.
        beta_2: The decay of the mean of their squares.
        epsilon: What is added to the root of that mean.

    Follows ``torch.optim.AdamW``.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def slots(self, shape: Shape, axes: tuple[int, int]) -> dict[str, Shape]:
        """The means of the gradients and of their squares."""
        return {"momentum": shape, "velocity": shape}

    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """See :class:`UpdateRule`."""
        momentum = slots["momentum"] + (gradient - slots["momentum"]) * (1.0 - self.beta_1)
        velocity = slots["velocity"] + (gradient * gradient - slots["velocity"]) * (1.0 - self.beta_2)
        correction = ops.sqrt(one_minus_power(ops, self.beta_2, update.number))
        rate = update.rate * correction / one_minus_power(ops, self.beta_1, update.number)
        # Numerator and denominator are multiplied by the correction, which spares a division of each value.
        change = momentum * rate / (ops.sqrt(velocity) + self.epsilon * correction)
        return decayed_weight(weight, update) - change, {"momentum": momentum, "velocity": velocity}
