"""Batches as a ``keras.utils.PyDataset`` of NumPy arrays, where TensorFlow is not installed.

They are those of ``tf_pipeline.py``: same order, same padding, same types.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tf_hfwb.data.batch_workers import BUFFERED, BatchWorkers
from tf_hfwb.data.loaders import length_of_loader, read_loader
from tf_hfwb.data.sample_order import Order
from tf_hfwb.data.sample_source import Source
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    from tf_hfwb.keras_compat.numpy_batches import NumPyBatches


def numpy_pipeline(
    source: Source, order: Order, start_step: int, num_epochs: int | None, workers: BatchWorkers
) -> NumPyBatches:
    """The batches of all steps from one on."""
    from tf_hfwb.keras_compat.numpy_batches import NumPyBatches  # It imports Keras.

    gather = source.in_numpy()

    def make(number: int) -> Any:
        step = start_step + number
        return gather(order.indices_of(step), step)

    number = None if num_epochs is None else num_epochs * order.steps_per_epoch - start_step
    threads = workers.threads or 0
    return NumPyBatches(make, number, threads=threads, buffer=workers.buffer or BUFFERED * threads)


def numpy_stream(read: Callable[[], Iterator[Any]], *, is_endless: bool) -> NumPyBatches:
    """The batches of a stream, which is read from its first batch on.

    Raises:
        DataError: It ends, and nobody knows where, which Keras cannot be told of NumPy batches.
    """
    from tf_hfwb.keras_compat.numpy_batches import NumPyBatches  # It imports Keras.

    if not is_endless:
        raise DataError(
            "A datasets.IterableDataset, whose length is unknown, was given for a fixed number of passes, and "
            "TensorFlow is not installed. Expected an endless training (num_epochs=None), or data that can be counted. "
            "Make a datasets.Dataset of it, with datasets.Dataset.from_generator; or install tensorflow."
        )
    return NumPyBatches(_InTurn(read).batch, None)


def numpy_loader(data: Any) -> NumPyBatches:
    """The batches of a loader, to be gone through again and again.

    Raises:
        DataError: It has no end, or does not tell.
    """
    from tf_hfwb.keras_compat.numpy_batches import NumPyBatches  # It imports Keras.

    number = length_of_loader(data)
    if number is None:
        raise DataError(
            f"A {type(data).__name__} without a length was given for evaluation. Expected one that ends. Cut it, or "
            "pass arrays or a datasets.Dataset."
        )
    return NumPyBatches(_InTurn(lambda: read_loader(data)).batch, number)


class _InTurn:
    """Batches of a stream by their numbers, which Keras asks for one after the other."""

    def __init__(self, read: Callable[[], Iterator[Any]]) -> None:
        self._read = read
        self._batches = read()
        self._next = 0
        self._lock = threading.Lock()

    def batch(self, number: int) -> Any:
        """The batch of that number. An earlier one than the last is found from the first one on."""
        with self._lock:
            if number < self._next:
                self._batches, self._next = self._read(), 0
            batch = next(itertools.islice(self._batches, number - self._next, None))
            self._next = number + 1
            return batch
