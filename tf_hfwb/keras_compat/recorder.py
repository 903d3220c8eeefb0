"""The loss of every single step, kept by the training graph for whoever reads it later.

Keras reports running means of the epoch. Differencing them in float32 loses digits with every step (about 3e-4 after
5,000 steps), a NaN poisons the rest of the epoch, and an evaluation resets them. So one small variable records the
steps themselves: it is updated inside the train step, a few scalar operations, and read only when a row is due.

The variable holds four counters and the losses of the last ``size`` training steps, newest last::

    [train batches, train samples, test batches, test samples, loss, loss, ..., loss]

Counters run modulo 2**23, where float32 still counts exactly; only differences are used. Under a distribution
strategy every replica keeps its own and reading sums them, as for Keras's metrics.

The model is observed at two seams, both per instance: its ``train_step`` and ``test_step`` (which of the two is
running, and how many samples), and ``update_state`` of its loss tracker (the loss). They act while Keras traces the
step, are never removed (removing them would mean tracing the model again for the next ``fit``), add nothing to what
is saved with the model, and end with the next ``compile``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_COUNTERS = 4
_MODULUS = 2.0**23
_MINIMUM_SIZE = 1024


@dataclass(frozen=True)
class Reading:
    """What happened between two captures.

    Attributes:
        train_losses: The loss of each training step, oldest first; at most as many as the recorder keeps.
        train_batches: Number of training steps.
        train_samples: Number of training samples.
        test_batches: Number of evaluation steps.
        test_samples: Number of evaluation samples.
    """

    train_losses: np.ndarray
    train_batches: int
    train_samples: int
    test_batches: int
    test_samples: int


def difference(before: np.ndarray, after: np.ndarray, replicas: int) -> Reading:
    """What happened between two captured values of the recorder's variable.

    Args:
        before: The earlier value, shape ``[4 + size]``.
        after: The later value.
        replicas: The number of replicas that both are summed over.
    """
    counts = np.rint(np.mod(after[:_COUNTERS].astype(np.float64) - before[:_COUNTERS], _MODULUS * replicas))
    train_batches = int(counts[0]) // replicas
    losses = after[_COUNTERS:].astype(np.float64) / replicas
    return Reading(
        train_losses=losses[max(0, len(losses) - train_batches) :],
        train_batches=train_batches,
        train_samples=int(counts[1] % _MODULUS),
        test_batches=int(counts[2]) // replicas,
        test_samples=int(counts[3] % _MODULUS),
    )


class StepRecorder:
    """Records the steps of one model. Made by :func:`attach`; subclasses know where the variable lives.

    Attributes:
        size: The number of losses kept; capture at least that often.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._running: str | None = None
        self._batch_size: Any = 1
        self._recorded = False

    def capture(self) -> Any:
        """The variable's value as of now, for :func:`numpy.asarray`. Nothing is synchronised on TensorFlow."""
        raise NotImplementedError

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        raise NotImplementedError

    def _batch_size_of(self, data: Any) -> Any:
        raise NotImplementedError

    def watch_step(self, step: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """Wrap a ``train_step`` or ``test_step``."""

        def observed_step(*args: Any) -> Any:
            self._running, self._batch_size, self._recorded = kind, self._batch_size_of(args[-1]), False
            try:
                outputs = step(*args)
                if not self._recorded:
                    self._record_reported(outputs)
            finally:
                self._running = None
            return outputs

        observed_step.recorder, observed_step.original = self, step  # type: ignore[attr-defined]
        return observed_step

    def watch_tracker(self, update_state: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the ``update_state`` of a loss tracker."""

        def observed_update(values: Any, *args: Any, **kwargs: Any) -> Any:
            if self._running is not None and not self._recorded:
                self._recorded = True
                self._record(values, self._batch_size, training=self._running == "train")
            return update_state(values, *args, **kwargs)

        observed_update.recorder, observed_update.original = self, update_state  # type: ignore[attr-defined]
        return observed_update

    def _record_reported(self, outputs: Any) -> None:
        """A custom step without a tracker named "loss": take the loss that it reports."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if loss is not None:
            self._record(loss, self._batch_size, training=self._running == "train")


class _TFKerasRecorder(StepRecorder):
    """The variable is the recorder's own, outside the model: tf_keras checkpoints what hangs on a model."""

    def __init__(self, model: Any, size: int) -> None:
        import tensorflow as tf

        super().__init__(size)
        self._tf = tf
        with model.distribute_strategy.scope():
            self._variable = tf.Variable(
                tf.zeros([_COUNTERS + size]),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
                name="tf_hfwb_steps",
            )

    def capture(self) -> Any:
        return read(self._variable)

    def _batch_size_of(self, data: Any) -> Any:
        return _tensorflow_batch_size(self._tf.nest.flatten(data))

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        tf = self._tf
        value = self._variable.read_value()
        one, samples = tf.ones([]), tf.cast(samples, tf.float32)
        added = tf.stack([one, samples, 0.0, 0.0] if training else [0.0, 0.0, one, samples])
        counters = tf.math.floormod(value[:_COUNTERS] + added, _MODULUS)
        losses = value[_COUNTERS:]
        if training:
            loss = tf.reduce_mean(tf.cast(loss, tf.float32))
            losses = tf.concat([losses[1:], [loss]], axis=0)
        self._variable.assign(tf.concat([counters, losses], axis=0))


class _Keras3Recorder(StepRecorder):
    """The variable belongs to the loss tracker: on JAX only what belongs to a metric is carried from step to step."""

    def __init__(self, model: Any, size: int) -> None:
        import keras

        super().__init__(size)
        self._keras = keras
        self._model = weakref.ref(model)
        with model.distribute_strategy.scope() if keras.backend.backend() == "tensorflow" else _Nothing():
            self._variable = model._loss_tracker.add_variable(
                (_COUNTERS + size,), initializer="zeros", dtype="float32", name="tf_hfwb_steps"
            )

    def capture(self) -> Any:
        if self._keras.backend.backend() == "tensorflow":
            return read(self._variable.value)
        model: Any = self._model()
        # JAX carries the state outside the model during fit, and its buffers are donated to the next step: copy.
        state = None if model._jax_state_synced else getattr(model, "_jax_state", None)
        if state:
            index = next(i for i, v in enumerate(model.metrics_variables) if v is self._variable)
            return np.array(state["metrics_variables"][index])
        return np.array(self._variable.value)

    def _batch_size_of(self, data: Any) -> Any:
        leaves = [leaf for leaf in self._keras.tree.flatten(data) if leaf is not None]
        if self._keras.backend.backend() == "tensorflow":
            return _tensorflow_batch_size(leaves)
        return leaves[0].shape[0] if leaves and len(leaves[0].shape) else 1

    def _record_reported(self, outputs: Any) -> None:
        # On JAX a variable can be written only where Keras updates its own.
        if self._keras.backend.backend() == "tensorflow":
            super()._record_reported(outputs)

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        ops = self._keras.ops
        value = ops.convert_to_tensor(self._variable)
        samples = ops.cast(samples, "float32")
        one, zero = ops.ones(()), ops.zeros(())
        added = ops.stack([one, samples, zero, zero] if training else [zero, zero, one, samples])
        counters = ops.mod(value[:_COUNTERS] + added, _MODULUS)
        losses = value[_COUNTERS:]
        if training:
            loss = ops.reshape(ops.mean(ops.cast(loss, "float32")), (1,))
            losses = ops.concatenate([losses[1:], loss])
        self._variable.assign(ops.concatenate([counters, losses]))


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: Any) -> None: ...


def _tensorflow_batch_size(leaves: list[Any]) -> Any:
    import tensorflow as tf

    if not leaves:
        return 1
    leaf = leaves[0]
    if isinstance(leaf, tf.RaggedTensor):
        return leaf.nrows()
    if isinstance(leaf, tf.SparseTensor):
        return leaf.dense_shape[0]
    return tf.shape(leaf)[0] if leaf.shape.rank != 0 else 1


def read(variable: Any) -> Any:
    """The value of a TensorFlow variable as of now, without a copy and without waiting for it.

    A plain variable is read by the operation itself: ``read_value()`` costs the caller four times as much.
    """
    import tensorflow as tf

    if hasattr(variable, "values"):  # A distributed variable, whose read also sums its replicas.
        return variable.read_value()
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


def attach(model: Any, *, keras3: bool, steps_per_execution: int) -> StepRecorder:
    """Record the steps of ``model``; a model that is recorded already keeps its recorder.

    Args:
        model: A compiled model.
        keras3: Whether it is a Keras 3 model.
        steps_per_execution: The steps between two looks of a callback.
    """
    trackers = _loss_trackers(model, keras3)
    recorder = getattr(model.train_step, "recorder", None)
    watched = [tracker for tracker in trackers if getattr(tracker.update_state, "recorder", None) is recorder]
    if recorder is not None and len(watched) == len(trackers) and recorder.size >= 2 * steps_per_execution:
        return recorder
    size = max(_MINIMUM_SIZE, 2 * steps_per_execution)
    recorder = _Keras3Recorder(model, size) if keras3 else _TFKerasRecorder(model, size)
    for tracker in trackers:
        tracker.update_state = recorder.watch_tracker(_unwrapped(tracker.update_state))
    model.train_step = recorder.watch_step(_unwrapped(model.train_step), "train")
    model.test_step = recorder.watch_step(_unwrapped(model.test_step), "test")
    # Whatever was traced before does not record.
    if model.train_function is not None:
        model.make_train_function(force=True)
    if model.test_function is not None:
        model.make_test_function(force=True)
    return recorder


def _loss_trackers(model: Any, keras3: bool) -> list[Any]:
    """The metrics that may receive the loss of a step; which of them does shows when the step is traced."""
    trackers = [model._loss_tracker] if keras3 else []
    compiled_loss = getattr(model, "compiled_loss", None)
    if compiled_loss is not None and not keras3:
        trackers.append(compiled_loss._total_loss_mean)
    for metric in model.metrics:
        if metric.name == "loss" and all(metric is not tracker for tracker in trackers):
            trackers.append(metric)
    return trackers


def _unwrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    return getattr(method, "original", method)
