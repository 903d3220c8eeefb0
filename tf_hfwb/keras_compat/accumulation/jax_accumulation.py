"""Gradients accumulated on JAX, for models of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation, Part
from tf_hfwb.keras_compat.loss_recorder import with_value

if TYPE_CHECKING:
    from tf_hfwb.keras_compat.host_base import Host


class JAXAccumulation(GradientAccumulation):
    """The sums are handed from batch to batch, and are in no variable. The last one is that of the batches' weights.

    Arguments are as of the base class.
    """

    def __init__(self, host: Host, groups: BatchGroups, epoch_batches: int, batches: int) -> None:
        super().__init__(host, groups, epoch_batches, batches)
        self._add_function: Callable[..., Any] = lambda *args: None
        self._apply_function: Callable[..., Any] = lambda *args: None
        self._sums: list[Any] = []
        self._traced_sums: list[Any] = []  # While a step is traced.
        self._traced_weight: Any = 1.0
        self._traced_place: Any = 0

    @property
    def _method(self) -> str:
        return "stateless_apply"

    # -- inside the graph ------------------------------------------------------------------------------------------

    def _part_of(self, data: Any) -> Part:
        weight = self._traced_weight = 1.0 if self._weigh is None else self._weigh(data)
        return Part(self._traced_place == 0, _divided(weight, self._traced_sums[-1] + weight))

    def _add(self, optimizer_variables: Any, grads: Sequence[Any], trainable_variables: Any) -> Any:
        self._note_addition()
        weight, sums = self._traced_weight, zip(self._traced_sums[:-1], grads, strict=True)
        added = [total + (gradient if self._weigh is None else gradient * weight) for total, gradient in sums]
        self._traced_sums = [*added, self._traced_sums[-1] + weight]
        return trainable_variables, optimizer_variables

    # -- around it -------------------------------------------------------------------------------------------------

    def _make(self, make: Callable[..., Any], recorder: Any) -> Any:
        import jax
        from jax import numpy as jnp

        model = self._host.model

        def add(state: Any, sums: list[Any], place: Any, data: Any) -> Any:
            self._traced_sums, self._traced_place = sums, place
            logs, state = model.train_step(state, data)
            sums, self._traced_sums = self._traced_sums, []
            return logs, state, sums

        def apply(state: Any, sums: list[Any]) -> Any:
            trainable_variables, others, optimizer_variables, metrics = state
            trainable_variables, optimizer_variables = self._apply_original(
                optimizer_variables, [_divided(total, sums[-1]) for total in sums[:-1]], trainable_variables
            )
            state = trainable_variables, others, optimizer_variables, recorder.end_update(metrics)
            return recorder.value_in(state), state, [jnp.zeros_like(one) for one in sums]

        if model.jit_compile and not model.run_eagerly:
            self._add_function = jax.jit(add, donate_argnums=(0, 1))
            self._apply_function = jax.jit(apply, donate_argnums=(0, 1))
        else:
            self._add_function, self._apply_function = add, apply
        sums = [jnp.zeros(variable.shape, variable.dtype) for variable in model.trainable_variables]
        self._sums = [*sums, jnp.zeros((), "float32")]
        return self._add_function

    def _add_batch(self, place: int, *args: Any) -> Any:
        state, iterator = args
        data = next(iterator)
        logs, state, self._sums = self._add_function(state, self._sums, place, data)
        return logs, state

    def _apply(self, outputs: Any) -> Any:
        logs, state = outputs
        value, state, self._sums = self._apply_function(state, self._sums)
        return with_value(logs, value), state

    def _next_arguments(self, args: tuple[Any, ...], outputs: Any) -> tuple[Any, ...]:
        return outputs[1], args[1]


def _divided(total: Any, weight: Any) -> Any:
    """A share of all weights; 0 where all of them are."""
    from jax import numpy as jnp

    return total / jnp.where(weight > 0, weight, 1.0).astype(jnp.result_type(total))
