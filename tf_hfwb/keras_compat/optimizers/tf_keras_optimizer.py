"""A rule of updates as an optimizer of tf_keras."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tf_hfwb.keras_compat import tf_keras_private
from tf_hfwb.keras_compat.optimizers.gradient_clipping import clip_to_global_norm, dense
from tf_hfwb.keras_compat.optimizers.rule_configuration import configuration_of, with_rule
from tf_hfwb.keras_compat.optimizers.update_rule import KeptWeight, UpdateRule, last_axes_in_pytorch

_OPS = types.SimpleNamespace(
    cast=tf.cast,
    expm1=tf.math.expm1,
    logical_and=tf.logical_and,
    maximum=tf.maximum,
    mean=tf.reduce_mean,
    minimum=tf.minimum,
    rsqrt=tf.math.rsqrt,
    sign=tf.sign,
    sqrt=tf.sqrt,
    square=tf.square,
    sum=tf.reduce_sum,
    where=tf.where,
)

# As AdamW of tf_keras calls its slots, so that checkpoints of trainings with it can be resumed.
_NAMES = {"momentum": "m", "velocity": "v"}


@tf_keras.saving.register_keras_serializable("tf_hfwb")
class TFKerasOptimizer(tf_keras.optimizers.Optimizer):  # type: ignore[misc]
    """An optimizer of tf_keras that updates weights by a rule.

    Args:
        rule: The rule.
        learning_rate: A rate or a schedule.
        weight_decay: The decay of those weights that decay.
        find_decaying: Tells of each of a list of variables whether it decays; all do when None.
        name: The name; that of the rule when None.
        options: Of the base class: ``global_clipnorm`` and others.
    """

    def __init__(
        self,
        rule: UpdateRule,
        learning_rate: Any,
        *,
        weight_decay: float = 0.0,
        find_decaying: Callable[[Sequence[Any]], Sequence[bool]] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        tf_keras_private.check_gradient_methods(tf_keras.optimizers.Optimizer)
        super().__init__(name=name or type(rule).__name__, weight_decay=weight_decay, **options)
        tf_keras_private.set_learning_rate(self, learning_rate)
        self.rule = rule
        self._find_decaying = find_decaying
        self._kept: list[KeptWeight] = []

    def build(self, var_list: Sequence[Any]) -> None:
        """Make the slots of all variables."""
        super().build(var_list)
        if tf_keras_private.has_slots(self):
            return
        tf_keras_private.mark_as_having_slots(self)
        decaying = [True] * len(var_list) if self._find_decaying is None else self._find_decaying(var_list)
        self._kept = [self._keep(variable, decays) for variable, decays in zip(var_list, decaying, strict=True)]

    def _keep(self, variable: Any, decays: bool) -> KeptWeight:
        axes = last_axes_in_pytorch(variable.name, variable.shape)
        slots = {
            name: self.add_variable_from_reference(variable, _NAMES.get(name, name), shape)
            for name, shape in self.rule.slots(tuple(variable.shape), axes).items()
        }
        return KeptWeight(slots, self.weight_decay if decays else 0.0, axes)

    def _clip_gradients(self, grads: Sequence[Any]) -> Any:
        """Gradients of all replicas, made dense and clipped."""
        gradients = [dense(gradient) for gradient in grads]
        if not self.global_clipnorm:
            return super()._clip_gradients(gradients)
        return clip_to_global_norm(_OPS, gradients, self.global_clipnorm)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: rules differ in how a weight decays, so that it is a part of its update."""

    def update_step(self, gradient: Any, variable: Any) -> None:
        """Update one variable, with its slots."""
        kept = self._kept[tf_keras_private.place_of(self, variable)]
        dtype = tf.float64 if variable.dtype == tf.float64 else tf.float32
        update = kept.update(tf.cast(self.learning_rate, dtype), tf.cast(self.iterations + 1, dtype))
        values = {name: tf.cast(tf.convert_to_tensor(slot), dtype) for name, slot in kept.slots.items()}
        weight = tf.cast(tf.convert_to_tensor(variable), dtype)
        weight, values = self.rule.apply(_OPS, weight, tf.cast(gradient, dtype), values, update)
        for name, slot in kept.slots.items():
            slot.assign(tf.cast(values[name], slot.dtype))
        variable.assign(tf.cast(weight, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        """The configuration; which weights decay is not in it."""
        rate = tf_keras_private.describe_learning_rate(self)
        return {**super().get_config(), "learning_rate": rate, **configuration_of(self.rule)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TFKerasOptimizer:
        """An optimizer of that configuration."""
        return super().from_config(with_rule(config), custom_objects)
