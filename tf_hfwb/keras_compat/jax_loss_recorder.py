"""The recorder of losses on JAX, for models of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.loss_recorder import FIRST_LOSS, MODULUS, StepRecorder, unused_value, with_value


class JAXRecorder(StepRecorder):
    """The variable belongs to the loss tracker: only what belongs to a metric is carried from step to step."""

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        import keras

        super().__init__(model, size, rate)
        self._keras = keras
        self._variable = keras3_private.loss_tracker(model).add_variable(
            (FIRST_LOSS + size,), initializer="zeros", dtype="float32", name="tf_hfwb_steps"
        )
        self._assign(unused_value(size))

    def capture(self) -> Any:
        """The variable's value as of now, copied: its buffer is donated to the next step."""
        from jax import numpy as jnp

        model: Any = self._model()
        # The state is outside the model during fit. Nobody waits for the copy, which is made on the device.
        state = keras3_private.carried_state(model)
        return jnp.copy(state["metrics_variables"][self._index()] if state else self._variable.value)

    def _hand_out(self, outputs: Any) -> Any:
        logs, state = outputs
        return with_value(logs, self.value_in(state)), state

    def value_in(self, state: Any) -> Any:
        """The value to hand out with a step that ends in this state, inside the graph."""
        model: Any = self._model()
        value = state[3][self._index()]
        if self._rate is None:
            return value
        with self._keras.StatelessScope(state_mapping=zip(model.optimizer.variables, state[2], strict=True)):
            rate = self._rate()
        ops = self._keras.ops
        return ops.concatenate([ops.reshape(ops.cast(rate, "float32"), (1,)), value[1:]])

    def _index(self) -> int:
        """The variable's place among the model's metric variables."""
        model: Any = self._model()
        return next(i for i, v in enumerate(model.metrics_variables) if v is self._variable)

    @property
    def in_metrics(self) -> Any:
        """The variable, which is one of the model's metric variables."""
        return self._variable

    def _assign(self, value: np.ndarray) -> None:
        self._variable.assign(value)

    def _call_before(self, args: tuple[Any, ...]) -> None:
        # Keras has taken the state out of the variables, and behind an evaluation nobody else has it.
        self._show_state(args[0])
        super()._call_before(args)

    def _logs_of(self, outputs: Any) -> Any:
        # The state comes along. Keras will put it here in a moment; listeners look for it now.
        logs, state = outputs
        self._show_state(state)
        return logs

    def _show_state(self, state: Any) -> None:
        keras3_private.show_carried_state(self._model(), state)
        self.carried = state

    def _outputs_of_no_step(self, args: tuple[Any, ...]) -> Any:
        return super()._outputs_of_no_step(args), args[0]

    def _skip_batches(self, args: tuple[Any, ...]) -> None:
        """Keras has read the batch already, and reads all others."""

    def _follow_data(self) -> None:
        """Nothing is drawn from generators of the backend's own."""

    def _batch_size_of(self, data: Any) -> Any:
        leaves = [leaf for leaf in self._keras.tree.flatten(data) if leaf is not None]
        return leaves[0].shape[0] if leaves and len(leaves[0].shape) else 1

    def _record_reported(self, outputs: Any) -> None:
        """A variable can be written only where Keras updates its own."""

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        ops = self._keras.ops
        value = ops.convert_to_tensor(self._variable)
        samples = ops.cast(samples, "float32")
        one, zero = ops.ones(()), ops.zeros(())
        steps = one if self._part is None else zero
        added = ops.stack([steps, samples, zero, zero] if training else [zero, zero, one, samples])
        losses = value[FIRST_LOSS:]
        if training:
            losses = self._append(losses, ops.reshape(ops.mean(ops.cast(loss, "float32")), (1,)))
        self._variable.assign(_counted(ops, value, added, losses))

    def _append(self, losses: Any, loss: Any) -> Any:
        ops = self._keras.ops
        appended = ops.concatenate([losses[1:], loss])
        if self._part is None:
            return appended
        self._counts_updates = True
        mean = losses[-1:] + (loss - losses[-1:]) * self._part.share
        return ops.where(self._part.is_first, appended, ops.concatenate([losses[:-1], mean]))

    def end_update(self, metrics_variables: Sequence[Any]) -> list[Any]:
        """Inside the graph: several batches have made an update. Returns the values of the metric variables."""
        values = list(metrics_variables)
        if self._counts_updates:
            ops, value = self._keras.ops, values[self._index()]
            added = ops.convert_to_tensor([1.0, 0.0, 0.0, 0.0])
            values[self._index()] = _counted(ops, value, added, value[FIRST_LOSS:])
        return values


def _counted(ops: Any, value: Any, added: Any, losses: Any) -> Any:
    counters = ops.mod(value[1:FIRST_LOSS] + added, MODULUS)
    return ops.concatenate([-ops.ones((1,)), counters, losses])
