"""LAMB, which is Adam with a step in proportion to the norm of each weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.keras_compat.optimizers.adamw import AdamW
from tf_hfwb.keras_compat.optimizers.update_rule import Update, decayed_weight, one_minus_power


@dataclass(frozen=True)
class Lamb(AdamW):
    """LAMB; options as of :class:`.AdamW`.

    Follows ``keras.optimizers.Lamb``.
    """

    epsilon: float = 1e-7

    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """See :class:`UpdateRule`."""
        weight = decayed_weight(weight, update)
        momentum = slots["momentum"] + (gradient - slots["momentum"]) * (1.0 - self.beta_1)
        velocity = slots["velocity"] + (gradient * gradient - slots["velocity"]) * (1.0 - self.beta_2)
        mean = momentum / one_minus_power(ops, self.beta_1, update.number)
        square = velocity / one_minus_power(ops, self.beta_2, update.number)
        direction = mean / (ops.sqrt(square) + self.epsilon)
        size, length = ops.sqrt(ops.sum(weight * weight)), ops.sqrt(ops.sum(direction * direction))
        is_usual = ops.logical_and(size > 0.0, length > 0.0)
        trust = ops.where(is_usual, size / ops.where(is_usual, length, 1.0), 1.0)
        return weight - direction * (trust * update.rate), {"momentum": momentum, "velocity": velocity}
