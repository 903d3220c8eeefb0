"""The observer of gradients on TensorFlow, for models of tf_keras and of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import tensorflow_private
from tf_hfwb.keras_compat.gradients.gradient_observer import MODULUS, GradientObserver, empty_record
from tf_hfwb.keras_compat.gradients.histogram_bins import SIZE, vector_in_tensorflow
from tf_hfwb.keras_compat.gradients.optimizer_seams import put_observer_into
from tf_hfwb.keras_compat.variable_snapshot import read


def attach_on_tensorflow(
    model: Any,
    optimizer: Any,
    counter: Callable[[], Any],
    *,
    strategy: Any,
    is_compiled: Callable[[], bool],
    is_local: bool,
) -> GradientObserver:
    """Observe the gradients of ``model``; one that is observed already keeps its observer.

    Args:
        model: The model, compiled.
        optimizer: Its innermost optimizer.
        counter: Gives the optimizer's counter.
        strategy: The model's distribution strategy; None without one.
        is_compiled: Whether XLA compiles the train function that is being traced.
        is_local: Whether the optimizer clips the gradients of one replica, before those of all are added.
    """
    is_local = is_local and strategy is not None and strategy.num_replicas_in_sync > 1
    return put_observer_into(
        model, optimizer, lambda v: TensorFlowObserver(v, counter, strategy, is_compiled, is_local)
    )


class TensorFlowObserver(GradientObserver):
    """Variables of its own, under the distribution of the model."""

    def __init__(
        self,
        variables: Sequence[Any],
        counter: Callable[[], Any],
        strategy: Any,
        is_compiled: Callable[[], bool],
        is_local: bool,
    ) -> None:
        import tensorflow as tf

        super().__init__(variables)
        self._tf = tf
        self._counter = counter
        self._strategy = strategy
        self._is_compiled = is_compiled
        self._is_local = is_local
        self._window = self._variable(np.array([-1, -1], np.int64), tf.VariableSynchronization.AUTO)
        self._record: Any = self._new_record() if self.variables else None

    def _variable(self, value: np.ndarray, synchronization: Any) -> Any:
        tf = self._tf
        with (self._strategy or tf.distribute.get_strategy()).scope():
            return tf.Variable(
                value,
                trainable=False,
                synchronization=synchronization,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                name="tf_hfwb_gradients",
            )

    def _new_record(self) -> Any:
        return self._variable(empty_record(len(self.variables)), self._tf.VariableSynchronization.ON_READ)

    def look_at(self, first: int, last: int) -> None:
        self._window.assign([first, last])

    def capture(self) -> Any:
        return empty_record(0) if self._record is None else read(self._record)

    def observe(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        tf = self._tf
        if self._record is None:  # The model is being built by this batch.
            self.variables = list(variables)
            with tf.init_scope():
                self._record = self._new_record()
        placed = self._placed(gradients, variables)

        def write_if_due(strategy: Any, values: list[Any]) -> None:
            self._write_if_due(dict(zip(placed, values, strict=True)))

        write_if_due = tf.autograph.experimental.do_not_convert(write_if_due)
        if self._is_local:
            # A condition around what needs all replicas must stand outside of them.
            tf.distribute.get_replica_context().merge_call(write_if_due, args=([*placed.values()],))
        else:
            write_if_due(None, [*placed.values()])

    def _write_if_due(self, placed: dict[int, Any]) -> None:
        tf = self._tf
        counter = tf.cast(self._counter(), tf.int64)
        window = self._window.read_value()

        def write(counter: Any, gradients: list[Any]) -> Any:
            missing = tf.fill([SIZE], -1.0)
            rows = [missing] * len(self.variables)
            for place, gradient in zip(placed, gradients, strict=True):
                rows[place] = vector_in_tensorflow(self._whole(place, gradient), compiled=self._is_compiled())
            when = tf.fill([SIZE], tf.cast(tf.math.floormod(counter, MODULUS), tf.float32))
            self._record.assign(tf.stack([*rows, when]))
            return tf.constant(True)

        if not tf.executing_eagerly():
            # What stands in a branch itself is passed by one operation after the other.
            write = tensorflow_private.as_one_operation(write)
        is_due = (window[0] <= counter) & (counter <= window[1])
        tf.cond(is_due, lambda: write(counter, [*placed.values()]), lambda: tf.constant(False))

    def _whole(self, place: int, gradient: Any) -> Any:
        """The gradient of the whole batch, dense."""
        tf = self._tf
        parts = self._strategy.experimental_local_results(gradient) if self._is_local else [gradient]
        number = self.variables[place].shape[0] if isinstance(parts[0], tf.IndexedSlices) else 0
        dense = [
            tf.math.unsorted_segment_sum(part.values, part.indices, number)
            if isinstance(part, tf.IndexedSlices)
            else part
            for part in parts
        ]
        return tf.add_n(dense)
