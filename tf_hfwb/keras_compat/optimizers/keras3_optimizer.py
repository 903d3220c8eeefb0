"""A rule of updates as an optimizer of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.optimizers.gradient_clipping import clip_to_global_norm, dense
from tf_hfwb.keras_compat.optimizers.rule_configuration import configuration_of, with_rule
from tf_hfwb.keras_compat.optimizers.update_rule import KeptWeight, UpdateRule, last_axes_in_pytorch


@keras.saving.register_keras_serializable("tf_hfwb")
class Keras3Optimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    """An optimizer of Keras 3 that updates weights by a rule; arguments as of :class:`.TFKerasOptimizer`."""

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
        keras3_private.check_gradient_methods(keras.optimizers.Optimizer, keras.backend.backend())
        super().__init__(learning_rate, weight_decay=weight_decay, name=name or type(rule).__name__, **options)
        self.rule = rule
        self._find_decaying = find_decaying
        self._kept: list[KeptWeight] = []

    def build(self, variables: Sequence[Any]) -> None:
        """Make the slots of all variables."""
        if self.built:
            return
        super().build(variables)
        decaying = [True] * len(variables) if self._find_decaying is None else self._find_decaying(variables)
        self._kept = [self._keep(variable, decays) for variable, decays in zip(variables, decaying, strict=True)]

    def _keep(self, variable: Any, decays: bool) -> KeptWeight:
        shape, axes = tuple(variable.shape), last_axes_in_pytorch(variable.name, variable.shape)
        slots = {}
        for name, own in self.rule.slots(shape, axes).items():
            if own == shape:
                slots[name] = self.add_variable_from_reference(variable, name)
            else:
                slots[name] = self.add_variable(own, dtype=variable.dtype, name=f"{variable.name}_{name}")
        return KeptWeight(slots, self.weight_decay if decays else 0.0, axes)

    def _clip_gradients(self, grads: Sequence[Any]) -> Any:
        """Gradients of all replicas, made dense and clipped."""
        gradients = _whole(grads) if keras.backend.backend() == "tensorflow" else list(grads)
        if not self.global_clipnorm:
            return super()._clip_gradients(gradients)
        return clip_to_global_norm(ops, gradients, self.global_clipnorm)

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[Any]) -> Sequence[Any]:
        """Gradients as they are: those of all replicas were added up before they were clipped."""
        return grads_and_vars

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: rules differ in how a weight decays, so that it is a part of its update."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable, with its slots."""
        kept = self._kept[keras3_private.place_of(self, variable)]
        dtype = "float64" if "float64" in str(variable.dtype) else "float32"
        update = kept.update(ops.cast(learning_rate, dtype), ops.cast(self.iterations + 1, dtype))
        values = {name: ops.cast(ops.convert_to_tensor(slot), dtype) for name, slot in kept.slots.items()}
        weight = ops.cast(ops.convert_to_tensor(variable), dtype)
        weight, values = self.rule.apply(ops, weight, ops.cast(gradient, dtype), values, update)
        for name, slot in kept.slots.items():
            self.assign(slot, ops.cast(values[name], slot.dtype))
        self.assign(variable, ops.cast(weight, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        """The configuration; which weights decay is not in it."""
        return {**super().get_config(), **configuration_of(self.rule)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Keras3Optimizer:
        """An optimizer of that configuration."""
        return super().from_config(with_rule(config), custom_objects)


def _whole(gradients: Sequence[Any]) -> list[Any]:
    """The dense gradients of all replicas of TensorFlow; Keras would clip those of each replica by themselves."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
    return [dense(gradient) for gradient in gradients]
