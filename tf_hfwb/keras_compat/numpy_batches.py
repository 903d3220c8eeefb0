"""Batches of NumPy arrays that every Keras 3 takes as they are, in their own order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

import keras

from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat import keras3_private


class NumPyBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches by their numbers, for ``fit``, ``evaluate`` and ``predict``, and to iterate over as often as wanted.

    Keras gets them in this order, also with ``shuffle=True``, as it does of a ``tf.data.Dataset``. Its own workers are
    not used: they would take batches in advance, and lose them at the end of an epoch.

    Example:
        >>> batches = NumPyBatches(lambda number: number * 10, 3)
        >>> list(batches), len(batches)
        ([0, 10, 20], 3)

    Args:
        make: From a number, counted from 0, to its batch; called from several threads with ``threads``.
        num_batches: How many there are; None for endless ones.
        threads: Threads that make batches in advance; 0 to make each when it is asked for.
        buffer: Batches that they make in advance.
    """

    def __init__(
        self, make: Callable[[int], Any], num_batches: int | None, *, threads: int = 0, buffer: int = 0
    ) -> None:
        super().__init__()
        self._make = make
        self._num_batches = num_batches
        self._buffer = buffer if threads else 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="batches") if threads else None
        self._begun: dict[int, Future[Any]] = {}

    @property
    def num_batches(self) -> int | None:
        """How many there are; None for endless ones, as Keras wants it."""
        return self._num_batches

    @property
    def is_endless(self) -> bool:
        """Whether there are always more."""
        return self._num_batches is None

    @property
    def element_spec(self) -> Any:
        """The structure of a batch, as a ``tf.data.Dataset`` has it: shapes and types in the place of arrays."""
        return keras.tree.map_structure(_spec_of, self[0])

    def take(self, number: int) -> NumPyBatches:
        """The first so many, as a ``tf.data.Dataset`` gives them."""
        return NumPyBatches(self._make, number if self._num_batches is None else min(number, self._num_batches))

    def map(self, function: Callable[[int, Any], Any]) -> NumPyBatches:
        """What a function makes of each batch and its number."""
        return NumPyBatches(lambda number: function(number, self[number]), self._num_batches)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The batches, as a ``tf.data.Dataset`` gives them."""
        return iter(self)

    def __len__(self) -> int:
        if self._num_batches is None:
            raise DataError(
                "These batches are endless and have no length. Expected to take some of them. Pass "
                "steps_per_epoch=batches.steps_per_epoch to fit, or num_epochs to training_batches."
            )
        return self._num_batches

    def __iter__(self) -> Iterator[Any]:
        numbers = count() if self._num_batches is None else range(self._num_batches)
        return map(self.__getitem__, numbers)

    def __getitem__(self, index: int) -> Any:
        if self._threads is None:
            return self._make(index)
        ahead = range(index, index + 1 + self._buffer)
        if self._num_batches is not None:
            ahead = ahead[: self._num_batches - index]
        begun = {
            number: self._begun.get(number) or self._threads.submit(self._make, number) for number in (index, *ahead)
        }
        batch = begun.pop(index)
        self._begun = begun
        return batch.result()

    def on_epoch_begin(self) -> None:
        """Keras's adapter calls this before it goes through the batches, of which it would shuffle a known number."""
        keras3_private.keep_order_of_caller(sys._getframe(1))


def _spec_of(array: Any) -> Any:
    dtype = "string" if array.dtype.kind in "OSU" else array.dtype.name
    return keras.KerasTensor((None, *array.shape[1:]), dtype)
