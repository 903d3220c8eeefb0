"""A ``fit`` of Keras 3 that begins in the middle of an epoch; see ``mid_epoch_start.py``.

After the callbacks' ``on_train_begin``, ``fit`` takes its first epoch from an attribute of the model. The epoch
iterator then enumerates a shorter first epoch.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation, accumulation_of
from tf_hfwb.keras_compat.data_passes import SavedGenerators
from tf_hfwb.keras_compat.fit_arguments import fit_arguments
from tf_hfwb.keras_compat.mid_epoch_start import Start, check_length, check_order, put_back_method, replace_method, skip
from tf_hfwb.keras_compat.torch_loader_states import begins_in_place


@contextlib.contextmanager
def begin_in_keras3(
    model: Any,
    start: Start,
    *,
    build_metrics: Callable[[Any, Any], None] | None = None,
) -> Iterator[None]:
    """Set up one ``fit`` of a Keras 3 model.

    Args:
        model: The model.
        start: Where it begins.
        build_metrics: Makes the metrics of the model from the epoch iterator, where these are not there yet when the
            loop over epochs begins.
    """
    generators = SavedGenerators(start.generators)
    reset = model.reset_metrics

    def first_epoch() -> int:
        if not start.is_left():
            return sys.maxsize
        arguments = fit_arguments(model)
        iterator = arguments["epoch_iterator"]
        check_length(start, iterator.num_batches, arguments)
        is_stored = _is_stored(iterator.data_adapter)
        skipped = _num_batches_to_skip(start, iterator, is_stored, accumulation_of(model))
        if is_stored and not _is_order_known(iterator, arguments, generators):
            check_order(start, skipped, arguments)
        if skipped or start.batch or (iterator.steps_per_epoch is not None and generators.can_repeat):
            enumerate_rest = functools.partial(_enumerate_rest, iterator, start.batch, skipped, generators)
            keras3_private.replace_enumerate_epoch(iterator, enumerate_rest)
        else:
            generators.proceed(iterator.data_adapter)
        if start.batch:
            if build_metrics is not None:
                build_metrics(model, iterator)
            replace_method(model, "reset_metrics", reset_and_restore)
        return start.epoch

    def reset_and_restore() -> None:
        reset()
        put_back_method(model, "reset_metrics")
        start.restore_metrics()

    keras3_private.set_initial_epoch(model, _Epoch(first_epoch))
    try:
        yield
    finally:
        keras3_private.set_initial_epoch(model, None)
        put_back_method(model, "reset_metrics")


class _Epoch:
    """An epoch that is only known when the loop over epochs begins."""

    def __init__(self, find: Callable[[], int]) -> None:
        self._find = find

    def __index__(self) -> int:
        return self._find()


def _is_stored(data_adapter: Any) -> bool:
    from tf_hfwb.keras_compat.numpy_batches import NumPyBatches  # It imports Keras.

    # The batches of this class are a stream, which its user starts at the right place.
    is_stream = isinstance(getattr(data_adapter, "py_dataset", None), NumPyBatches)
    return keras3_private.reads_stored_batches(data_adapter) and not is_stream


def _num_batches_to_skip(
    start: Start, iterator: Any, is_stored: bool, accumulation: GradientAccumulation | None
) -> int:
    size, steps = iterator.data_adapter.num_batches, iterator.steps_per_epoch
    if accumulation is not None and size is not None and accumulation.groups.batches == size:
        return accumulation.epoch_batches  # Keras counts groups of batches.
    if steps is None or steps == size:
        return start.batch
    # Stored data is read in one pass after the other, whatever the length of an epoch is.
    return start.batches % size if is_stored and size else 0


def _is_order_known(iterator: Any, arguments: Any, generators: SavedGenerators) -> bool:
    """Whether Keras draws once, when a pass begins, in which order it reads arrays, and draws the same again."""
    is_drawn_once = arguments["shuffle"] != "batch" and keras3_private.reads_arrays(iterator.data_adapter)
    return is_drawn_once and generators.can_repeat


def _enumerate_rest(iterator: Any, batch: int, skipped: int, generators: SavedGenerators) -> Iterator[Any]:
    """The rest of the first epoch after ``batch`` batches; ``skipped`` batches of the data stand in front of it."""
    keras3_private.put_back_enumerate_epoch(iterator)
    steps = iterator.steps_per_epoch
    iterator.steps_per_epoch = iterator.num_batches - batch
    generators.begin_pass(iterator.data_adapter)
    is_first = True
    try:
        for begin, end, data in keras3_private.enumerate_epoch(iterator)():
            if is_first:
                skip(data, 0 if begins_in_place(iterator.data_adapter) else skipped)
                # The iterator must know where it is in the data: at their end it begins the next pass.
                keras3_private.add_steps_seen(iterator, skipped)
                data = generators.proceed_within(data)
                is_first = False
            yield begin + batch, end + batch, data
    finally:
        iterator.steps_per_epoch = steps
