"""The loss of every single step, kept by the training graph for whoever reads it later.

Keras reports running means of the epoch. Differencing them in float32 loses digits with every step (about 3e-4 after
5,000 steps), a NaN poisons the rest of the epoch, and an evaluation resets them. So one small variable records the
steps themselves: it is updated inside the train step by a few scalar operations.

The variable holds four counters and the losses of the last ``size`` training steps, newest last::

    [rate, train batches, train samples, test batches, test samples, loss, loss, ..., loss]

Counters run modulo 2**23, where float32 still counts exactly; only differences are used. Under a distribution
strategy every replica keeps its own and reading sums them, as for Keras's metrics.

On TensorFlow with one replica the train function hands the variable's value out with each step, the learning rate of
that step in front: then nothing has to be read at all, and a read costs the training thread more than all the rest.
Otherwise the rate is -1, and the variable is read when a row is due.

The model is observed at three seams, all per instance: its ``train_step`` and ``test_step`` (which of the two is
running, and how many samples), ``update_state`` of its loss tracker (the loss), and its ``train_function`` (when steps
have ended, and what they hand out). The first two act while Keras traces the step. They are never removed, which
would mean tracing the model again for the next ``fit``; they add nothing to what is saved with the model, and end with
the next ``compile``.
"""

from __future__ import annotations

import abc
import sys
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.fit import Fit
from tf_hfwb.keras_compat.fit_arguments import fit_arguments

_FIRST = 5  # The first of the losses.
_KEY = "tf_hfwb_steps"
_MODULUS = 2**23
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
        before: The earlier value, shape ``[5 + size]``.
        after: The later value.
        replicas: The number of replicas that both are summed over.
    """
    # Four numbers are counted faster without NumPy, and this is done for every row.
    modulus = _MODULUS * replicas
    counts = [
        round((later - earlier) % modulus)
        for earlier, later in zip(before[1:_FIRST].tolist(), after[1:_FIRST].tolist(), strict=True)
    ]
    train_batches = counts[0] // replicas
    losses = after[_FIRST:]
    return Reading(
        train_losses=losses[max(0, len(losses) - train_batches) :].astype(np.float64) / replicas,
        train_batches=train_batches,
        train_samples=counts[1] % _MODULUS,
        test_batches=counts[2] // replicas,
        test_samples=counts[3] % _MODULUS,
    )


def rate_of(captured: np.ndarray) -> float | None:
    """The learning rate of the last step, if it was handed out with the value."""
    return float(captured[0]) if captured[0] >= 0 else None


class StepRecorder(abc.ABC):
    """Records the steps of one model. Made by :func:`attach`; subclasses know where the variable lives.

    Args:
        model: The model.
        size: The number of losses kept; look at least that often.
        rate: Gives the learning rate of the step that was just taken, inside the graph; None if nothing does.

    Attributes:
        fit: What the callbacks of the running fit, or of the last one, share.
        is_executing: Whether the train function is running.
        carried: On JAX, while the listeners are called: the lists of the state that the next step gets.
    """

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        self.size = size
        self.fit = Fit()
        self.is_executing = False
        self._last_logs: dict[str, Any] = {}
        self.carried: Any = None
        self._model = weakref.ref(model)
        self._rate = rate
        self._latest: Any = None
        self._running: str | None = None
        self._batch_size: Any = 1
        self._recorded = False

    @abc.abstractmethod
    def capture(self) -> Any:
        """The variable's value as of now, for :func:`numpy.asarray`. Nothing is synchronised on TensorFlow."""

    @property
    def in_metrics(self) -> Any:
        """The variable, where it is one of the model's metric variables; else None."""
        return None

    def restore(self, value: np.ndarray) -> None:
        """Go on from a captured value; the oldest losses are left out when that recorder kept more of them."""
        losses = value[_FIRST:][-self.size :]
        padding = np.zeros(self.size - len(losses), np.float32)
        self._assign(np.concatenate([[-1.0], value[1:_FIRST], padding, losses]).astype(np.float32))
        self._latest, self._last_logs = None, {}

    @property
    def has_run(self) -> bool:
        """Whether the train function has run in this fit, or in the last one."""
        return bool(self._last_logs)

    def stop(self) -> None:
        """End the fit without another step, even if Keras has begun its batch; that batch is not trained on."""
        model: Any = self._model()
        self.fit.is_stopped = model.stop_training = True

    @abc.abstractmethod
    def _assign(self, value: np.ndarray) -> None: ...

    @property
    def reported(self) -> Collection[str]:
        """The names of the metrics that the train step reports; empty before the first step of a fit."""
        return set(_leaves(self._last_logs))

    def latest(self) -> Any:
        """The value after the last training step: what the step handed out, or else read now."""
        return self.capture() if self._latest is None else self._latest

    @property
    def hands_out_rates(self) -> bool:
        """Whether :func:`rate_of` the latest value is known."""
        return self._latest is not None and self._rate is not None

    @abc.abstractmethod
    def _record(self, loss: Any, samples: Any, *, training: bool) -> None: ...

    def _handed_out(self) -> Any:
        """The value to hand out with a step, inside the graph; None where it must be read."""
        return None

    @abc.abstractmethod
    def _batch_size_of(self, data: Any) -> Any: ...

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
            if kind == "train" and self._recorded and isinstance(outputs, dict) and self._watches_function():
                value = self._handed_out()
                return outputs if value is None else {**outputs, _KEY: value}
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

    def watch_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a train function: take out of the logs what the step hands out, and tell the listeners."""

        def observed_function(*args: Any) -> Any:
            fit = self.fit
            if fit.gates:
                self._pass_gates(args)
            if fit.is_stopped:  # Keras looks at stop_training as soon as this returns.
                return self._outputs_of_no_step(args)
            self.is_executing = True
            outputs = function(*args)
            self.is_executing = False
            logs = self._last_logs = outputs if isinstance(outputs, dict) else self._logs_of(outputs)
            self._latest = logs.pop(_KEY, None)
            for listener in fit.listeners:
                listener(logs)
            self.carried = None
            return outputs

        observed_function.recorder, observed_function.original = self, function  # type: ignore[attr-defined]
        return observed_function

    def watch_maker(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``make_train_function``, which every fit calls before its callbacks begin."""

        def observed_maker(*args: Any, **kwargs: Any) -> Any:
            # A callback may call train_on_batch in the middle of a fit.
            if sys._getframe(1).f_code.co_name != "train_on_batch" or not fit_arguments(self._model()):
                for note in self.fit.when_interrupted:
                    note()
                self.fit, self._last_logs, self.carried = Fit(), {}, None
            return make(*args, **kwargs)

        observed_maker.original = make  # type: ignore[attr-defined]
        return observed_maker

    def _pass_gates(self, args: tuple[Any, ...]) -> None:
        for gate in self.fit.gates:
            gate()

    def _logs_of(self, outputs: Any) -> Any:
        """The logs in what a train function returned that are not themselves it."""
        return outputs

    def _outputs_of_no_step(self, args: tuple[Any, ...]) -> Any:
        """What the train function would return if it had changed nothing."""
        return self._last_logs

    def _watches_function(self) -> bool:
        """Whether the train function that is being traced is one that takes the value out again."""
        return getattr(getattr(self._model(), "train_function", None), "recorder", None) is self

    def _record_reported(self, outputs: Any) -> None:
        """A custom step without a tracker named "loss": take the loss that it reports."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if loss is not None:
            self._recorded = True
            self._record(loss, self._batch_size, training=self._running == "train")


class _TensorFlowRecorder(StepRecorder):
    """The variable is the recorder's own: what hangs on a model is saved with it, counted and compared."""

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        import tensorflow as tf

        super().__init__(model, size, rate)
        self._tf = tf
        with model.distribute_strategy.scope():
            self._variable = tf.Variable(
                tf.zeros([_FIRST + size]),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
                name="tf_hfwb_steps",
            )

    def capture(self) -> Any:
        return read(self._variable)

    def _assign(self, value: np.ndarray) -> None:
        self._variable.assign(value)

    def _handed_out(self) -> Any:
        return _with_rate(self._variable, self._rate)

    def _batch_size_of(self, data: Any) -> Any:
        return _tensorflow_batch_size([leaf for leaf in self._tf.nest.flatten(data) if leaf is not None])

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        tf = self._tf
        value = self._variable.read_value()
        samples = tf.cast(samples, tf.float32)
        added = tf.stack([1.0, samples, 0.0, 0.0] if training else [0.0, 0.0, 1.0, samples])
        counters = tf.math.floormod(value[1:_FIRST] + added, _MODULUS)
        losses = value[_FIRST:]
        if training:
            loss = _share(tf.reduce_mean(tf.cast(loss, tf.float32)), samples)
            losses = tf.concat([losses[1:], [loss]], axis=0)
        self._variable.assign(tf.concat([[-1.0], counters, losses], axis=0))


class _JAXRecorder(StepRecorder):
    """The variable belongs to the loss tracker: only what belongs to a metric is carried from step to step."""

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        import keras

        super().__init__(model, size, rate)
        self._keras = keras
        self._variable = keras3_private.loss_tracker(model).add_variable(
            (_FIRST + size,), initializer="zeros", dtype="float32", name="tf_hfwb_steps"
        )

    def capture(self) -> Any:
        model: Any = self._model()
        # The state is outside the model during fit, and its buffers are donated to the next step: copy.
        state = keras3_private.carried_state(model)
        if state:
            index = next(i for i, v in enumerate(model.metrics_variables) if v is self._variable)
            return np.array(state["metrics_variables"][index])
        return np.array(self._variable.value)

    @property
    def in_metrics(self) -> Any:
        return self._variable

    def _assign(self, value: np.ndarray) -> None:
        self._variable.assign(value)

    def _pass_gates(self, args: tuple[Any, ...]) -> None:
        # Keras has taken the state out of the variables, and behind an evaluation nobody else has it.
        self._show_state(args[0])
        super()._pass_gates(args)

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
        added = ops.stack([one, samples, zero, zero] if training else [zero, zero, one, samples])
        counters = ops.mod(value[1:_FIRST] + added, _MODULUS)
        losses = value[_FIRST:]
        if training:
            losses = ops.concatenate([losses[1:], ops.reshape(ops.mean(ops.cast(loss, "float32")), (1,))])
        self._variable.assign(ops.concatenate([-ops.ones((1,)), counters, losses]))


def _leaves(logs: Mapping[str, Any]) -> Iterator[str]:
    """The names by which Keras 3 knows nested logs."""
    for name, value in logs.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name


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


def _share(loss: Any, samples: Any) -> Any:
    """A replica's part of the loss of a step, so that the sum over replicas is their number times the samples' mean.

    The last batch of an epoch may leave a replica with fewer samples than the others, or with none.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return loss
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, samples)
    return tf.where(samples > 0, loss * samples * context.num_replicas_in_sync / total, 0.0)


def _with_rate(variable: Any, rate: Callable[[], Any] | None) -> Any:
    """The variable's value with the learning rate in front; None where several replicas would have to be summed."""
    import tensorflow as tf

    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return None
    value = variable.read_value()
    if rate is None:
        return value
    return tf.concat([tf.reshape(tf.cast(rate(), tf.float32), [1]), value[1:]], axis=0)


def read(variable: Any) -> Any:
    """The value of a TensorFlow variable as of now, without a copy and without waiting for it.

    A plain variable is read by the operation itself: ``read_value()`` costs the caller four times as much.
    """
    import tensorflow as tf

    if hasattr(variable, "values"):  # A distributed variable, whose read also sums its replicas.
        return variable.read_value()
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


def attach(
    model: Any, *, keras3: bool, steps_per_execution: int, rate: Callable[[], Any] | None = None
) -> StepRecorder:
    """Record the steps of ``model``; a model that is recorded already keeps its recorder.

    Args:
        model: A compiled model.
        keras3: Whether it is a Keras 3 model.
        steps_per_execution: The steps between two looks of a callback.
        rate: Gives the learning rate of the step that was just taken, inside the graph.
    """
    trackers = _loss_trackers(model, keras3)
    recorder: StepRecorder | None = getattr(model.train_step, "recorder", None)
    watched = all(getattr(tracker.update_state, "recorder", None) is recorder for tracker in trackers)
    if recorder is None or not watched or recorder.size < 2 * steps_per_execution:
        size = max(_MINIMUM_SIZE, 2 * steps_per_execution)
        recorder = (_JAXRecorder if keras3 and _is_on_jax() else _TensorFlowRecorder)(model, size, rate)
        for tracker in trackers:
            tracker.update_state = recorder.watch_tracker(_unwrapped(tracker.update_state))
        model.train_step = recorder.watch_step(_unwrapped(model.train_step), "train")
        model.test_step = recorder.watch_step(_unwrapped(model.test_step), "test")
        model.make_train_function = recorder.watch_maker(_unwrapped(model.make_train_function))
        # What was traced before does not record.
        if model.test_function is not None:
            model.make_test_function(force=True)
    if model.train_function is not None and getattr(model.train_function, "recorder", None) is not recorder:
        model.make_train_function(force=True)
        model.train_function = recorder.watch_function(model.train_function)
    return recorder


def _is_on_jax() -> bool:
    import keras

    return keras.backend.backend() == "jax"


def trace_again(model: Any) -> None:
    """Forget the traced train function, in the middle of a fit's begin too: the fit's listeners stay."""
    if model.train_function is not None:
        _unwrapped(model.make_train_function)(force=True)
        recorder: StepRecorder | None = getattr(model.train_step, "recorder", None)
        if recorder is not None:
            model.train_function = recorder.watch_function(model.train_function)


def _loss_trackers(model: Any, keras3: bool) -> list[Any]:
    """The metrics that may receive the loss of a step; which of them does shows when the step is traced."""
    trackers = [keras3_private.loss_tracker(model)] if keras3 else []
    compiled_loss = getattr(model, "compiled_loss", None)
    if compiled_loss is not None and not keras3:
        trackers.append(tf_keras_private.loss_tracker(compiled_loss))
    for metric in model.metrics:
        if metric.name == "loss" and all(metric is not tracker for tracker in trackers):
            trackers.append(metric)
    return trackers


def _unwrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    return getattr(method, "original", method)
