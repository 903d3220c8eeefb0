"""Let the next training of a model begin in the middle of an epoch, as neither Keras offers.

``fit`` runs a loop over epochs and one over an epoch's steps. Both loops are told at one point where they begin, and
that point can be reached on the model's own instance:

* tf_keras asks its method of initial counters for (epoch, step), after the callbacks' ``on_train_begin``;
* Keras 3 takes the epoch from the model at the same moment; its epoch iterator then enumerates a shorter first
  epoch.

Between now and then the model has nothing but another ``fit``, which sets the rest up and takes it away again. It stays
until a ``fit`` has trained, or has ended without an exception: one that fails before its first step leaves everything
to the next. ``evaluate``, ``predict`` and ``train_on_batch`` are Keras's own all the time.

Data of which Keras makes one pass an epoch, and arrays, begin at the right batch by themselves. A stream, of which
``steps_per_epoch`` cuts the epochs, is the user's to start. An order that Keras draws for each epoch nobody knows.

Callbacks may find in their ``on_train_begin`` that nothing is left to train, as when early stopping had ended the
training. Then neither loop runs: Keras 3 cannot end an epoch that has had no step.

The epoch's metrics are put back after Keras has reset them. On TensorFlow some of them are only made in the first step;
so tf_keras's step is traced before, and Keras 3 told to build them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.fit_arguments import fit_arguments

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Start:
    """Where a training goes on, and what is to be done on the way.

    Attributes:
        epoch: The epoch, from 0.
        batch: The batch in it, from 0.
        batches: The batches of all epochs so far.
        prepare: Called when ``fit`` is called; may refuse.
        restore_metrics: Assigns the metrics of the epoch so far; called if ``batch`` is not 0, when all of them exist.
        is_left: Called when all callbacks have begun; tells whether any step is to follow.
        has_trained: Tells whether the ``fit`` has made a step.
        over: Called when this start is of no use any more.
    """

    epoch: int
    batch: int
    batches: int
    prepare: Callable[[], None]
    restore_metrics: Callable[[], None]
    is_left: Callable[[], bool]
    has_trained: Callable[[], bool]
    over: Callable[[], None]


Seam = Callable[[Any, Start], contextlib.AbstractContextManager[None]]


def begin_next_fit_at(model: Any, start: Start, seam: Seam) -> None:
    """Let the next ``fit`` that trains begin there; a start that was given before counts no more.

    Args:
        model: A compiled model.
        start: Where.
        seam: :func:`in_tf_keras` or :func:`in_keras3`.
    """
    _put_back(model, "fit")  # Of an earlier start.
    fit = model.fit

    @functools.wraps(fit)
    def restored_fit(*args: Any, **kwargs: Any) -> Any:
        start.prepare()
        failed = True
        try:
            with seam(model, start):
                result = fit(*args, **kwargs)
            failed = False
        finally:
            if start.has_trained() or not failed:
                forget_start(model)
        return result

    restored_fit.start = start  # type: ignore[attr-defined]
    _replace(model, "fit", restored_fit)


def forget_start(model: Any) -> None:
    """Let the next ``fit`` begin where Keras lets it."""
    start = getattr(model.fit, "start", None)
    if start is not None:
        _put_back(model, "fit")
        start.over()


def _replace(model: Any, name: str, function: Any) -> None:
    function.before = vars(model).get(name)
    setattr(model, name, function)


def _put_back(model: Any, name: str) -> None:
    """Undo :func:`_replace`, if it is not undone yet."""
    function = vars(model).get(name)
    if function is not None and hasattr(function, "before"):
        if function.before is None:
            delattr(model, name)
        else:
            setattr(model, name, function.before)


# -- tf_keras ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_tf_keras(model: Any, start: Start) -> Iterator[None]:
    """Set up one ``fit`` of a tf_keras model."""

    def counters(steps_per_epoch: int | None, initial_epoch: int) -> tuple[int, int]:
        if not start.is_left():
            return sys.maxsize, 0
        arguments = fit_arguments(model)
        _check_length(start, steps_per_epoch, arguments)
        handler = arguments["data_handler"]
        adapter = tf_keras_private.data_adapter(handler)
        size = adapter.get_size()  # None of a dataset or a generator, which cannot be shuffled by Keras either.
        # An array is one pass after the other, whatever an epoch is.
        skipped = start.batch if adapter.should_recreate_iterator() else start.batches % size if size else 0
        _check_order(start, skipped if size else 0, arguments)
        if skipped:
            handler.enumerate_epochs = functools.partial(_begun, handler.enumerate_epochs, skipped)
        if start.batch:
            _replace(model, "train_function", _first_step(model, start.restore_metrics))
        return start.epoch, start.batch

    name = tf_keras_private.name_of_initial_counters(model)
    _replace(model, name, counters)
    try:
        yield
    finally:
        _put_back(model, name)
        _put_back(model, "train_function")


def _begun(enumerate_epochs: Callable[[], Iterator[tuple[int, Any]]], skipped: int) -> Iterator[tuple[int, Any]]:
    for number, (epoch, data) in enumerate(enumerate_epochs()):
        if number == 0:
            _skip(data, skipped)
        yield epoch, data


def _first_step(model: Any, restore_metrics: Callable[[], None]) -> Callable[..., Any]:
    function = model.train_function

    def first_step(*args: Any) -> Any:
        _put_back(model, "train_function")
        trace = getattr(getattr(function, "original", function), "get_concrete_function", None)
        if trace is not None:  # There is nothing to trace when fit runs eagerly; its metrics start with this step.
            trace(*args)
            restore_metrics()
        return function(*args)

    first_step.recorder = getattr(function, "recorder", None)  # type: ignore[attr-defined]
    return first_step


# -- Keras 3 -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_keras3(model: Any, start: Start) -> Iterator[None]:
    """Set up one ``fit`` of a Keras 3 model."""
    reset = model.reset_metrics

    def first_epoch() -> int:
        if not start.is_left():
            return sys.maxsize
        arguments = fit_arguments(model)
        iterator = arguments["epoch_iterator"]
        _check_length(start, iterator.num_batches, arguments)
        adapter = iterator.data_adapter
        size, steps = adapter.num_batches, iterator.steps_per_epoch
        is_stored = type(adapter).__name__ in ("ArrayDataAdapter", "PyDatasetAdapter")
        # Else one pass after the other, whatever an epoch is.
        is_one_pass = steps is None or steps == size
        skipped = start.batch if is_one_pass else start.batches % size if is_stored and size else 0
        _check_order(start, skipped if is_stored else 0, arguments)
        if skipped or start.batch:
            keras3_private.replace_enumerate_epoch(
                iterator, functools.partial(_shorter, iterator, start.batch, skipped)
            )
        if start.batch:
            _build_metrics(model, iterator)
            _replace(model, "reset_metrics", reset_and_restore)
        return start.epoch

    def reset_and_restore() -> None:
        reset()
        _put_back(model, "reset_metrics")
        start.restore_metrics()

    keras3_private.set_initial_epoch(model, _Epoch(first_epoch))
    try:
        yield
    finally:
        keras3_private.set_initial_epoch(model, None)
        _put_back(model, "reset_metrics")


class _Epoch:
    """An epoch that is only known when the loop over epochs begins."""

    def __init__(self, find: Callable[[], int]) -> None:
        self._find = find

    def __index__(self) -> int:
        return self._find()


def _build_metrics(model: Any, iterator: Any) -> None:
    """On TensorFlow without a distribution strategy Keras 3 makes the metrics in the first step; on JAX it has now."""
    import keras

    if keras.backend.backend() == "jax":
        return
    spec = iterator.data_adapter.get_tf_dataset().element_spec
    batch = keras.tree.map_structure(lambda leaf: keras.KerasTensor(tuple(leaf.shape), leaf.dtype.name), spec)
    with model.distribute_strategy.scope():
        keras3_private.symbolic_build(model)(data_batch=batch)


def _shorter(iterator: Any, batch: int, skipped: int) -> Iterator[Any]:
    """The first epoch, of which ``batch`` batches have been; ``skipped`` are in front of the rest."""
    keras3_private.put_back_enumerate_epoch(iterator)
    steps = iterator.steps_per_epoch
    iterator.steps_per_epoch = iterator.num_batches - batch
    try:
        for begin, end, data in keras3_private.enumerate_epoch(iterator)():
            _skip(data, skipped)
            if steps is not None:  # Then the iterator stays when the epoch ends, and must know where it is.
                keras3_private.add_steps_seen(iterator, skipped)
            skipped = 0
            yield begin + batch, end + batch, data
    finally:
        iterator.steps_per_epoch = steps


# -- both --------------------------------------------------------------------------------------------------------------


def _skip(data: Iterator[Any], number: int) -> None:
    for _ in range(number):
        next(data, None)


def _check_length(start: Start, steps_per_epoch: int | None, arguments: Any) -> None:
    epochs = arguments["epochs"]
    if start.epoch >= epochs:
        _logger.warning(
            "Nothing is left to train: epochs=%d, and the checkpoint has %d. Expected more, to go on. Pass epochs=%d, "
            "for example.",
            epochs,
            start.epoch,
            start.epoch + 1,
        )
    if start.batch and steps_per_epoch is None:
        raise SettingError(
            "steps_per_epoch",
            None,
            expected=f"a number, because training goes on at batch {start.batch} of an epoch, and this data tells no "
            "length",
            advice="Pass steps_per_epoch, and the dataset of training_batches(..., start_step=position.batches).",
        )
    if steps_per_epoch is not None and start.batch >= steps_per_epoch > 0:
        raise SettingError(
            "steps_per_epoch",
            steps_per_epoch,
            expected=f"more than {start.batch}, the number of batches that this epoch has had in the checkpoint",
            advice="Train with the data and the batch size that the checkpoint was made with.",
        )


def _check_order(start: Start, skipped: int, arguments: Any) -> None:
    if skipped and arguments["shuffle"]:
        raise SettingError(
            "shuffle",
            arguments["shuffle"],
            expected=f"False, because training goes on at batch {start.batch} of an epoch, and nobody knows the order "
            "that Keras had drawn for it",
            advice="Take the data of training_batches(..., start_step=position.batches), whose order is; or restore a "
            "checkpoint of an epoch's end.",
        )
