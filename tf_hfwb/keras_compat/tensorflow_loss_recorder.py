"""The recorder of losses on TensorFlow, for models of tf_keras and of Keras 3."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tf_hfwb.keras_compat.loss_recorder import FIRST_LOSS, MODULUS, StepRecorder, unused_value, with_value
from tf_hfwb.keras_compat.variable_snapshot import read


class TensorFlowRecorder(StepRecorder):
    """The variable is the recorder's own: what hangs on a model is saved with it, counted and compared."""

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        import tensorflow as tf

        super().__init__(model, size, rate)
        self._tf = tf
        self._replica = threading.local()  # TensorFlow traces each replica on a thread of its own.
        with model.distribute_strategy.scope():
            self._variable = tf.Variable(
                unused_value(size),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                name="tf_hfwb_steps",
            )

    def capture(self) -> Any:
        """The variable's value as of now, for :func:`numpy.asarray`."""
        return read(self._variable)

    def _assign(self, value: np.ndarray) -> None:
        self._variable.assign(value)

    def _hand_out(self, outputs: Any) -> Any:
        return with_value(outputs, self._handed_out())

    def _handed_out(self) -> Any:
        """The value to return with a step, inside the graph; None where it must be read later."""
        return _with_rate(self._variable, self._rate)

    def _skip_batches(self, args: tuple[Any, ...]) -> None:
        hooks, data = self.hooks, args[-1]
        if hooks.batches_to_skip is None:  # Keras ends the epoch where the data ends.
            hooks.has_data_ended = True
            raise StopIteration
        left, hooks.batches_to_skip = hooks.batches_to_skip, 0
        for _ in range(left):
            next(data)

    def _follow_data(self) -> None:
        """Nothing is drawn from generators of the backend's own."""

    def take_weight(self) -> Any:
        """As in the base class; None before the loss of the step is known."""
        weight, self._replica.weight = getattr(self._replica, "weight", None), None
        return weight

    def _batch_size_of(self, data: Any) -> Any:
        self._replica.weight = None
        self._replica.count = None if self.count is None else self.count(data)
        return _tensorflow_batch_size([leaf for leaf in self._tf.nest.flatten(data) if leaf is not None])

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        tf = self._tf
        value = self._variable.read_value()
        samples = tf.cast(samples, tf.float32)
        if training:
            loss = tf.reduce_mean(tf.cast(loss, tf.float32))
            own = samples if self._replica.count is None else self._replica.count
            loss, samples, total, replicas = _over_replicas(loss, samples, own)
            if self._replica.count is None or self._part is None:  # Else the accumulation has weighed the batch.
                self._replica.weight = tf.math.divide_no_nan(own * replicas, total)
            steps = 1.0 if self._part is None else 0.0
            added, losses = tf.stack([steps, samples, 0.0, 0.0]), self._append(value[FIRST_LOSS:], loss)
        else:
            _, samples, _, _ = _over_replicas(0.0, samples, samples)
            added, losses = tf.stack([0.0, 0.0, 1.0, samples]), value[FIRST_LOSS:]
        self._assign_counted(value, added, losses)

    def _append(self, losses: Any, loss: Any) -> Any:
        tf = self._tf
        appended = tf.concat([losses[1:], [loss]], axis=0)
        if self._part is None:
            return appended
        self._counts_updates = True
        mean = losses[-1] + (loss - losses[-1]) * self._part.share
        return tf.where(self._part.is_first, appended, tf.concat([losses[:-1], [mean]], axis=0))

    def end_update(self) -> Any:
        """Inside the graph: several batches have made an update. Returns what the execution is to hand out."""
        value = self._variable.read_value()
        if self._counts_updates:
            self._assign_counted(value, self._tf.constant([1.0, 0.0, 0.0, 0.0]), value[FIRST_LOSS:])
        return self._handed_out()

    def _assign_counted(self, value: Any, added: Any, losses: Any) -> None:
        tf = self._tf
        counters = tf.math.floormod(value[1:FIRST_LOSS] + added, MODULUS)
        self._variable.assign(tf.concat([[-1.0], counters, losses], axis=0))


def _tensorflow_batch_size(leaves: list[Any]) -> Any:
    import tensorflow as tf

    if not leaves:
        return 1
    leaf = leaves[0]
    if isinstance(leaf, tf.RaggedTensor):
        return leaf.nrows()
    if isinstance(leaf, tf.SparseTensor):
        return leaf.dense_shape[0]
    rank = tf.TensorShape(leaf.shape).rank  # In eager training a batch may be arrays.
    return tf.shape(leaf)[0] if rank != 0 else 1


def _over_replicas(loss: Any, samples: Any, count: Any) -> tuple[Any, Any, Any, int]:
    """The loss of all samples of a step, their number, what they count, and the number of replicas.

    The last batch of an epoch may leave a replica with fewer samples than the others, or with none, whose loss is then
    no number.

    Args:
        loss: That of one replica.
        samples: Its samples.
        count: How much its loss counts, such as the number of its samples.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return loss, samples, count, 1
    own = tf.stack([tf.where(count > 0, loss * count, 0.0), samples, count])
    loss, samples, count = tf.unstack(context.all_reduce(tf.distribute.ReduceOp.SUM, own))
    loss = tf.math.divide_no_nan(loss, count)  # No replica may have any of the items that count.
    return loss, samples, count, context.num_replicas_in_sync


def _with_rate(variable: Any, rate: Callable[[], Any] | None) -> Any:
    """The variable's value with the learning rate in front; None where Keras would take the mean over replicas."""
    import tensorflow as tf

    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return None
    value = variable.read_value()
    if rate is None:
        return value
    return tf.concat([tf.reshape(tf.cast(rate(), tf.float32), [1]), value[1:]], axis=0)
