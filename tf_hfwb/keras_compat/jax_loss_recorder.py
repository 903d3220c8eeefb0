"""The recorder of losses on JAX, for models of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.loss_recorder import FIRST_LOSS, MODULUS, unused_value, with_value
from tf_hfwb.keras_compat.pass_recorder import PassRecorder

_NAME = "tf_hfwb_steps"


class JAXRecorder(PassRecorder):
    """The variable belongs to a metric: only what belongs to one of the model's is carried from step to step.

    A model without metrics is not recorded.
    """

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        import keras

        super().__init__(model, size, rate)
        self._keras = keras
        self._variable = self._make_variable(model, _metric_to_extend(model))

    def _make_variable(self, model: Any, metric: Any) -> Any:
        shape = (FIRST_LOSS + self.size,)
        if metric is None:
            return self._keras.Variable(unused_value(self.size), trainable=False, name=_NAME)
        # The one before, if any: compile makes a new loss tracker, but a model's own metrics stay.
        before: Any = getattr(getattr(model.train_step, "recorder", None), "in_metrics", None)
        if any(one is before for one in metric.variables) and before.shape == shape:
            return before
        variable = metric.add_variable(shape, initializer="zeros", dtype="float32", name=_NAME)
        variable.assign(unused_value(self.size))
        reset = getattr(metric.reset_state, "original", metric.reset_state)
        metric.reset_state = _reset_without(variable, reset)
        return variable

    def capture(self) -> Any:
        """The variable's value as of now, copied: its buffer is donated to the next step."""
        from jax import numpy as jnp

        model: Any = self._model()
        # The state is outside the model during fit. Nobody waits for the copy, which is made on the device.
        state, index = keras3_private.carried_state(model), self._index()
        return jnp.copy(self._variable.value if not state or index is None else state["metrics_variables"][index])

    def _hand_out(self, outputs: Any) -> Any:
        logs, state = outputs
        return with_value(logs, self.value_in(state)), state

    def value_in(self, state: Any) -> Any:
        """The value to hand out with a step that ends in this state, inside the graph; None where it has none."""
        model: Any = self._model()
        index = self._index()
        value = None if index is None else state[3][index]
        if value is None or self._rate is None:
            return value
        with self._keras.StatelessScope(state_mapping=zip(model.optimizer.variables, state[2], strict=True)):
            rate = self._rate()
        ops = self._keras.ops
        return ops.concatenate([ops.reshape(ops.cast(rate, "float32"), (1,)), value[1:]])

    def _index(self) -> int | None:
        """The variable's place among the model's metric variables; None where it is not among them."""
        model: Any = self._model()
        return next((i for i, v in enumerate(model.metrics_variables) if v is self._variable), None)

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

    def _batch_size_of(self, data: Any) -> Any:
        leaves = [leaf for leaf in self._keras.tree.flatten(data) if leaf is not None]
        return leaves[0].shape[0] if leaves and len(leaves[0].shape) else 1

    def _record_reported(self, outputs: Any) -> Any:
        logs, state = outputs
        loss, index = self._reported_loss(logs), self._index()
        if loss is None or index is None:
            return outputs
        self._recorded = True
        values = [*state[-1]]
        values[index] = self._value_after(values[index], loss, self._batch_size, training=self._running == "train")
        return logs, (*state[:-1], values)

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        value = self._keras.ops.convert_to_tensor(self._variable)
        self._variable.assign(self._value_after(value, loss, samples, training=training))

    def _value_after(self, value: Any, loss: Any, samples: Any, *, training: bool) -> Any:
        ops = self._keras.ops
        samples = ops.cast(samples, "float32")
        one, zero = ops.ones(()), ops.zeros(())
        steps = one if self._part is None else zero
        added = ops.stack([steps, samples, zero, zero] if training else [zero, zero, one, samples])
        losses = value[FIRST_LOSS:]
        if training:
            losses = self._append(losses, ops.reshape(ops.mean(ops.cast(loss, "float32")), (1,)))
        return _counted(ops, value, added, losses)

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
        values, index = list(metrics_variables), self._index()
        if self._counts_updates and index is not None:
            ops, value = self._keras.ops, values[index]
            added = ops.convert_to_tensor([1.0, 0.0, 0.0, 0.0])
            values[index] = _counted(ops, value, added, value[FIRST_LOSS:])
        return values


def _metric_to_extend(model: Any) -> Any:
    """The metric that gets a variable more; None where no metric of the model can.

    It is one that the model itself gives the loss, if there is one: such a step may update each metric by itself, which
    carries only the variables of that metric. A model that overrides ``metrics`` may have left out Keras's own tracker.
    """
    from keras import metrics

    usable = [one for one in model.metrics if type(one).variables is metrics.Metric.variables]
    tracker = keras3_private.loss_tracker(model)
    for metric in usable:
        if metric.name == "loss" and metric is not tracker:
            return metric
    # Steps that take a fixed number of variables for each metric get the last ones with what is left.
    return tracker if any(one is tracker for one in usable) else usable[-1] if usable else None


def _reset_without(variable: Any, reset: Callable[[], Any]) -> Callable[[], Any]:
    """What resets a metric without that variable; by itself a metric may zero all that it has."""

    def reset_others() -> None:
        value = variable.value
        reset()
        variable.assign(value)

    reset_others.original = reset  # type: ignore[attr-defined]
    return reset_others


def _counted(ops: Any, value: Any, added: Any, losses: Any) -> Any:
    counters = ops.mod(value[1:FIRST_LOSS] + added, MODULUS)
    return ops.concatenate([-ops.ones((1,)), counters, losses])
