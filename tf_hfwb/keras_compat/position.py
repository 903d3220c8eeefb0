"""Let the next ``fit`` of a model begin in the middle of an epoch, as neither Keras offers.

``fit`` runs a loop over epochs and one over an epoch's steps. Both loops are told at one point where they begin, and
that point can be reached on the model's own instance:

* tf_keras asks ``_maybe_load_initial_counters_from_ckpt`` for (epoch, step), after the callbacks' ``on_train_begin``;
* Keras 3 takes the epoch from ``_initial_epoch``, after ``on_train_begin``, and shows its epoch iterator to
  ``_symbolic_build``, before that; the iterator then enumerates a shorter first epoch.

Callbacks may find in their ``on_train_begin`` that nothing is left to train, as when early stopping had ended the
training. Then neither loop runs: Keras 3 cannot end an epoch that has had no step.

The epoch's metrics are put back after Keras has reset them. On TensorFlow some of them are only made in the first step;
so tf_keras's step is traced before, and Keras 3 told to build them. Everything set here is taken away again when the
fit has begun.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tf_hfwb.errors import SettingError


def begin_tf_keras_fit_at(
    model: Any, epoch: int, batch: int, restore_metrics: Callable[[], None], begun: Callable[[], bool]
) -> None:
    """Let the next ``fit`` begin at a batch of an epoch.

    Args:
        model: A compiled tf_keras model.
        epoch: The epoch, from 0.
        batch: The batch in it, from 0.
        restore_metrics: Assigns the metrics of the epoch so far; called when all of them exist.
        begun: Called when all callbacks have begun; tells whether any step is to follow.
    """

    def counters(steps_per_epoch: int | None, initial_epoch: int) -> tuple[int, int]:
        del model._maybe_load_initial_counters_from_ckpt
        if not begun():
            return sys.maxsize, 0
        _check_length(steps_per_epoch, batch)
        if batch:
            _restore_before_first_step(model, restore_metrics)
        return epoch, batch

    model._maybe_load_initial_counters_from_ckpt = counters


def begin_keras3_fit_at(
    model: Any, epoch: int, batch: int, restore_metrics: Callable[[], None], begun: Callable[[], bool]
) -> None:
    """The same for a Keras 3 model; arguments as in :func:`begin_tf_keras_fit_at`."""
    name = "_maybe_symbolic_build" if hasattr(model, "_maybe_symbolic_build") else "_symbolic_build"
    build = getattr(model, name)
    reset = model.reset_metrics

    def observed_build(iterator: Any = None, **options: Any) -> Any:
        delattr(model, name)
        result = build(iterator=iterator, **options)
        model._initial_epoch = _Epoch(functools.partial(first_epoch, iterator))
        return result

    def first_epoch(iterator: Any) -> int:
        model._initial_epoch = None
        if not begun():
            return sys.maxsize
        if batch:
            _check_length(iterator.steps_per_epoch, batch)
            _build_metrics(model, iterator)
            iterator._enumerate_iterator = _shorter(iterator, batch)
            model.reset_metrics = reset_and_restore
        return epoch

    def reset_and_restore() -> None:
        reset()
        del model.reset_metrics
        restore_metrics()

    setattr(model, name, observed_build)


class _Epoch:
    """An epoch that is only known when the loop over epochs begins."""

    def __init__(self, find: Callable[[], int]) -> None:
        self._find = find

    def __index__(self) -> int:
        return self._find()


def _build_metrics(model: Any, iterator: Any) -> None:
    """On TensorFlow without a distribution strategy Keras 3 makes the metrics in the first step; on JAX it has now."""
    if hasattr(model, "_jax_state_synced"):
        return
    import keras

    spec = iterator.data_adapter.get_tf_dataset().element_spec
    batch = keras.tree.map_structure(lambda leaf: keras.KerasTensor(tuple(leaf.shape), leaf.dtype.name), spec)
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=batch)


def _restore_before_first_step(model: Any, restore_metrics: Callable[[], None]) -> None:
    function = model.train_function

    def first_step(*args: Any) -> Any:
        model.train_function = function
        trace = getattr(getattr(function, "original", function), "get_concrete_function", None)
        if trace is not None:  # There is nothing to trace when fit runs eagerly; its metrics start with this step.
            trace(*args)
            restore_metrics()
        return function(*args)

    first_step.recorder = getattr(function, "recorder", None)  # type: ignore[attr-defined]
    model.train_function = first_step


def _shorter(iterator: Any, batch: int) -> Callable[[], Iterator[Any]]:
    enumerate_epoch = iterator._enumerate_iterator

    def first_epoch() -> Iterator[Any]:
        del iterator._enumerate_iterator
        steps = iterator.steps_per_epoch
        iterator.steps_per_epoch = steps - batch
        try:
            for begin, end, data in enumerate_epoch():
                yield begin + batch, end + batch, data
        finally:
            iterator.steps_per_epoch = steps

    return first_epoch


def _check_length(steps_per_epoch: int | None, batch: int) -> None:
    if batch and steps_per_epoch is None:
        raise SettingError(
            "steps_per_epoch",
            None,
            expected=f"a number, because training goes on at batch {batch} of an epoch",
            advice="Pass steps_per_epoch, and the dataset of training_batches(..., start_step=position.batches).",
        )
    if steps_per_epoch is not None and batch >= steps_per_epoch > 0:
        raise SettingError(
            "steps_per_epoch",
            steps_per_epoch,
            expected=f"more than {batch}, the number of batches that this epoch has had in the checkpoint",
            advice="Train with the data and the batch size that the checkpoint was made with.",
        )
