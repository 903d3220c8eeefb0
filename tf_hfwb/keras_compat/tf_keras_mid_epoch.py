"""A ``fit`` of tf_keras that begins in the middle of an epoch; see ``mid_epoch_start.py``.

After the callbacks' ``on_train_begin``, ``fit`` asks a method of the model with which epoch and step to begin.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tf_hfwb.keras_compat import tf_keras_private
from tf_hfwb.keras_compat.fit_arguments import fit_arguments
from tf_hfwb.keras_compat.mid_epoch_start import Start, check_length, check_order, put_back_method, replace_method, skip


@contextlib.contextmanager
def begin_in_tf_keras(model: Any, start: Start) -> Iterator[None]:
    """Set up one ``fit`` of a tf_keras model."""

    def initial_counters(steps_per_epoch: int | None, initial_epoch: int) -> tuple[int, int]:
        if not start.is_left():
            return sys.maxsize, 0
        arguments = fit_arguments(model)
        check_length(start, steps_per_epoch, arguments)
        handler = arguments["data_handler"]
        adapter = tf_keras_private.data_adapter(handler)
        size = adapter.get_size()  # None of a dataset or a generator, which Keras does not shuffle either.
        skipped = _num_batches_to_skip(start, adapter, size)
        if size:
            check_order(start, skipped, arguments)
        if skipped:
            handler.enumerate_epochs = functools.partial(_enumerate_rest, handler.enumerate_epochs, skipped)
        if start.batch:
            replace_method(model, "train_function", _first_step(model, start.restore_metrics))
        return start.epoch, start.batch

    name = tf_keras_private.name_of_initial_counters(model)
    replace_method(model, name, initial_counters)
    try:
        yield
    finally:
        put_back_method(model, name)
        put_back_method(model, "train_function")


def _num_batches_to_skip(start: Start, adapter: Any, size: int | None) -> int:
    if adapter.should_recreate_iterator():
        return start.batch
    # An array is read in one pass after the other, whatever the length of an epoch is.
    return start.batches % size if size else 0


def _enumerate_rest(
    enumerate_epochs: Callable[[], Iterator[tuple[int, Any]]], skipped: int
) -> Iterator[tuple[int, Any]]:
    for number, (epoch, data) in enumerate(enumerate_epochs()):
        if number == 0:
            skip(data, skipped)
        yield epoch, data


def _first_step(model: Any, restore_metrics: Callable[[], None]) -> Callable[..., Any]:
    function = model.train_function

    def first_step(*args: Any) -> Any:
        put_back_method(model, "train_function")
        trace = getattr(getattr(function, "original", function), "get_concrete_function", None)
        if trace is not None:  # There is nothing to trace when fit runs eagerly; its metrics start with this step.
            trace(*args)
            restore_metrics()
        return function(*args)

    first_step.recorder = getattr(function, "recorder", None)  # type: ignore[attr-defined]
    return first_step
