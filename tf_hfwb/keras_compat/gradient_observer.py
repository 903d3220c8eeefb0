"""The gradients of a step, summed up by the training graph in the steps that are asked for.

Seen are the gradients that the optimizer gets to use: of the whole batch over all replicas, averaged over accumulated
batches, without the loss scale, and not clipped yet. Each optimizer has a method through which these pass, once for
each real update; it is replaced on the instance:

* legacy optimizers of tf_keras, as transformers' ``AdamWeightDecay``: ``_transform_gradients``;
* all others: ``_clip_gradients``, and ``_apply_weight_decay``, which is called next and tells whose they were.

Two small variables: the *window*, the optimizer's counter at the first and the last update to look at, which the
training thread sets ahead; and the *record*, a vector of :mod:`~tf_hfwb.keras_compat.histogram_bins` for each trained
variable, and the counter at which it was written. Outside the window a step compares its counter with it, and that is
all. A window passes by itself, so a fit that nobody observes is not slowed down by one that was observed before.

On TensorFlow the two variables belong to nobody, so nothing is saved with them. On JAX only what belongs to the
optimizer is carried from step to step; there they are left out of what the optimizer saves.
"""

from __future__ import annotations

import abc
import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private, tensorflow_private
from tf_hfwb.keras_compat.common_private import names_of_gradient_methods
from tf_hfwb.keras_compat.histogram_bins import SIZE, Distribution, in_jax, in_tensorflow, of_vector
from tf_hfwb.keras_compat.loss_recorder import read, trace_again

_MODULUS = 1 << 23  # The counter is written as float32, which counts exactly until there.


class GradientObserver(abc.ABC):
    """Observes the gradients that one optimizer gets. Made by :func:`observe`.

    Args:
        variables: The trained variables; empty when the model is only built by its first batch.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self.variables: list[Any] = list(variables)

    @property
    def own_variables(self) -> tuple[Any, ...]:
        """Those of the optimizer's variables that are not its own but this observer's."""
        return ()

    @abc.abstractmethod
    def look_at(self, first: int, last: int) -> None:
        """Write the record at each update between two values of the optimizer's counter, both included."""

    def look_away(self) -> None:
        """Write no record any more."""
        self.look_at(-1, -1)

    @abc.abstractmethod
    def capture(self) -> Any:
        """The record as of now, for :func:`distributions`. Nothing is synchronised on TensorFlow."""

    @abc.abstractmethod
    def observe(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Inside the graph: write the record if it is time."""

    def _placed(self, gradients: Sequence[Any], variables: Sequence[Any]) -> dict[int, Any]:
        """The gradients by the place of their variable."""
        places = {id(variable): place for place, variable in enumerate(self.variables)}
        pairs = zip(variables, gradients, strict=True)
        return {places[id(v)]: gradient for v, gradient in pairs if gradient is not None and id(v) in places}


def distributions(record: np.ndarray, first: int, last: int) -> dict[int, Distribution]:
    """The distribution of each variable's gradient by the variable's place; empty if none was seen in the window.

    A step that is skipped, as one whose scaled loss overflows, has no gradients.

    Args:
        record: What :meth:`GradientObserver.capture` gave.
        first: The window's begin.
        last: And its end.
    """
    written = int(record[-1, 0])
    if written < 0 or (written - first) % _MODULUS > last - first:
        return {}
    return {place: of_vector(row) for place, row in enumerate(record[:-1]) if not row[0] < 0}


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
    return _attach(model, optimizer, lambda v: _TensorFlowObserver(v, counter, strategy, is_compiled, is_local))


def attach_on_jax(model: Any, optimizer: Any) -> GradientObserver:
    """The same on JAX; arguments as in :func:`attach_on_tensorflow`."""
    return _attach(model, optimizer, lambda variables: _JAXObserver(variables, optimizer, model))


def _attach(model: Any, optimizer: Any, make: Callable[[Sequence[Any]], GradientObserver]) -> GradientObserver:
    variables = model.trainable_variables if model.built else []
    observer = observer_of(optimizer)
    if observer is not None and {id(v) for v in variables} <= {id(v) for v in observer.variables}:
        return observer
    for old in () if observer is None else observer.own_variables:
        keras3_private.untrack_variable(optimizer)(old)
    observer = make(variables)
    match names_of_gradient_methods(optimizer):
        case (transform,):
            _replace(optimizer, transform, observer, _transforming)
        case (clip, decay):
            passed: list[Any] = []
            _replace(optimizer, clip, observer, functools.partial(_clipping, passed))
            _replace(optimizer, decay, observer, functools.partial(_decaying, passed))
    if observer.own_variables:
        for saved in {id(saved): saved for saved in (model.optimizer, optimizer)}.values():
            for name in ("save_own_variables", "load_own_variables"):
                _replace(saved, name, observer, functools.partial(_without_own_variables, optimizer))
    trace_again(model)
    return observer


def observer_of(optimizer: Any) -> GradientObserver | None:
    """The observer of an innermost optimizer; None without one."""
    first = getattr(optimizer, names_of_gradient_methods(optimizer)[0], None)
    return getattr(first, "observer", None)


def _replace(optimizer: Any, name: str, observer: GradientObserver, wrap: Callable[..., Any]) -> None:
    """Put ``wrap(observer, original, ...)`` in the place of a method of this one optimizer."""
    method = getattr(optimizer, name)
    original = getattr(method, "original", method)
    replaced = functools.partial(wrap, observer, original)
    replaced.observer, replaced.original = observer, original  # type: ignore[attr-defined]
    object.__setattr__(optimizer, name, replaced)  # Keras would track it, and save what hangs on it.


def _transforming(observer: GradientObserver, original: Any, grads_and_vars: Iterable[tuple[Any, Any]]) -> Any:
    pairs = list(grads_and_vars)
    observer.observe([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
    return original(pairs)


def _clipping(passed: list[Any], observer: GradientObserver, original: Any, gradients: Sequence[Any]) -> Any:
    passed[:] = gradients
    return original(gradients)


def _decaying(passed: list[Any], observer: GradientObserver, original: Any, variables: Sequence[Any]) -> Any:
    if passed:
        observer.observe(passed[:], variables)
    passed.clear()
    return original(variables)


def _without_own_variables(optimizer: Any, observer: GradientObserver, original: Any, store: Any) -> Any:
    own = {id(variable) for variable in observer.own_variables}
    variables = keras3_private.variables_of_optimizer(optimizer)
    everything = variables[:]
    variables[:] = [variable for variable in everything if id(variable) not in own]
    try:
        return original(store)
    finally:
        variables[:] = everything


class _TensorFlowObserver(GradientObserver):
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
        return self._variable(_empty_record(len(self.variables)), self._tf.VariableSynchronization.ON_READ)

    def look_at(self, first: int, last: int) -> None:
        self._window.assign([first, last])

    def capture(self) -> Any:
        return _empty_record(0) if self._record is None else read(self._record)

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
                rows[place] = in_tensorflow(self._whole(place, gradient), compiled=self._is_compiled())
            when = tf.fill([SIZE], tf.cast(tf.math.floormod(counter, _MODULUS), tf.float32))
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


class _JAXObserver(GradientObserver):
    """Variables of the optimizer; in the middle of a fit the window is written into the state that ``fit`` carries."""

    def __init__(self, variables: Sequence[Any], optimizer: Any, model: Any) -> None:
        super().__init__(variables)
        self._model = weakref.ref(model)
        self._counter = keras3_private.iterations(optimizer)
        self._accumulation = optimizer.gradient_accumulation_steps or 1
        record = _empty_record(len(self.variables))
        self._record = optimizer.add_variable(record.shape, dtype="float32", name="tf_hfwb_gradients")
        self._window = optimizer.add_variable((2,), dtype="int32", name="tf_hfwb_window")
        self._record.assign(record)
        self._window.assign([-1, -1])

    @property
    def own_variables(self) -> tuple[Any, ...]:
        return self._record, self._window

    def look_at(self, first: int, last: int) -> None:
        from jax import numpy as jnp

        model: Any = self._model()
        carried = model.train_step.recorder.carried
        if carried is None:
            self._window.assign([first, last])
        else:
            carried[2][self._place(self._window)] = jnp.array([first, last], "int32")

    def capture(self) -> Any:
        model: Any = self._model()
        state = keras3_private.carried_state(model)
        # The buffer is given away to the next step: copy.
        return np.array(state["optimizer_variables"][self._place(self._record)] if state else self._record)

    def _place(self, variable: Any) -> int:
        model: Any = self._model()
        return next(place for place, v in enumerate(model.optimizer.variables) if v is variable)

    def observe(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        import jax
        from jax import numpy as jnp

        placed = self._placed(gradients, variables)
        counter, window, record = self._counter.value, self._window.value, self._record.value
        is_update = (counter + 1) % self._accumulation == 0

        def write() -> Any:
            rows = [jnp.full([SIZE], -1.0)] * len(self.variables)
            for place, gradient in placed.items():
                rows[place] = in_jax(gradient)
            return jnp.stack([*rows, jnp.full([SIZE], counter % _MODULUS, "float32")])

        is_due = is_update & (window[0] <= counter) & (counter <= window[1])
        self._record.assign(jax.lax.cond(is_due, write, lambda: record))


def _empty_record(number: int) -> np.ndarray:
    return np.full([number + 1, SIZE], -1.0, np.float32)
