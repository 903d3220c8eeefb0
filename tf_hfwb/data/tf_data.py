"""A ``tf.data.Dataset`` of batches, used as the user made it."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING, Any

from tf_hfwb.data.loaders import is_loader, length_of_loader
from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat.tensorflow_private import size_given_to_batch

if TYPE_CHECKING:
    import tensorflow as tf


class Length(enum.Enum):
    """What is known about the length of data."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    ENDLESS = "endless"


def is_tf_data(data: Any) -> bool:
    """Whether it is a ``tf.data.Dataset``."""
    tensorflow = sys.modules.get("tensorflow")  # Such data can only exist if it has been imported.
    return tensorflow is not None and isinstance(data, tensorflow.data.Dataset)


def length_of(data: Any) -> Length:
    """What is known about the length of data; that of arrays and of a ``datasets.Dataset`` is known."""
    if getattr(data, "is_endless", False) or (is_loader(data) and length_of_loader(data) is None):
        return Length.ENDLESS
    if not is_tf_data(data) or int(data.cardinality()) >= 0:
        return Length.KNOWN
    return Length.ENDLESS if is_endless(data) else Length.UNKNOWN


def count(data: tf.data.Dataset) -> int:
    """Count the batches of one pass, by reading it."""
    import tensorflow as tf

    return int(data.reduce(tf.constant(0, tf.int64), lambda number, _: number + 1))


def passes_from(data: tf.data.Dataset, batch: int) -> tf.data.Dataset:
    """Endless passes, of which the first one begins at that batch."""
    return data.skip(batch).concatenate(data.repeat())


def batch_size_of(data: tf.data.Dataset) -> int | None:
    """The number of samples in a batch; None if the dataset does not tell."""
    import tensorflow as tf

    for component in tf.nest.flatten(data.element_spec):
        if isinstance(component, tf.TensorSpec) and component.shape.rank and component.shape[0] is not None:
            return int(component.shape[0])
    # Where the last batch may be smaller, the shape does not tell. The transformation that made the batches does.
    size = size_given_to_batch(data)
    return None if size is None or not tf.is_tensor(size) else int(size)


def repeat_passes(data: tf.data.Dataset, num_epochs: int | None, start_step: int) -> tf.data.Dataset:
    """``num_epochs`` passes (endless when None) without the first ``start_step`` batches.

    Without a known length it is one pass, which Keras starts anew for each epoch.
    """
    steps_per_epoch = num_batches(data)
    if steps_per_epoch is None:
        return data.skip(start_step)
    epoch, position = divmod(start_step, steps_per_epoch)
    # Skipping within one pass only: repeat().skip() would read all the epochs before.
    if num_epochs is None:
        return passes_from(data, position)
    begun = data.skip(position)
    is_over = epoch >= num_epochs
    return begun.take(0) if is_over else begun.concatenate(data.repeat(num_epochs - epoch - 1))


def num_batches(data: tf.data.Dataset) -> int | None:
    """The length of one pass, None when unknown or endless.

    Raises:
        DataError: There are no batches, or the elements are samples (as far as the shapes tell).
    """
    import tensorflow as tf

    shapes = [component.shape for component in tf.nest.flatten(data.element_spec) if hasattr(component, "shape")]
    first_axes = {shape[0] for shape in shapes if shape.rank} - {None}
    if any(shape.rank == 0 for shape in shapes) or len(first_axes) > 1:
        raise DataError(
            f"The tf.data.Dataset yields elements of the shapes {[str(shape) for shape in shapes]}, which are no "
            f"batches. Expected the batch as first axis of each. Call dataset.batch(...) or dataset.padded_batch(...)."
        )
    cardinality = int(data.cardinality())
    if cardinality == 0:
        raise DataError("The tf.data.Dataset is empty. Expected at least one batch. Check its files and filters.")
    return cardinality if cardinality > 0 else None


def is_endless(data: tf.data.Dataset) -> bool:
    """Whether it is known never to end."""
    import tensorflow as tf

    return bool(data.cardinality() == tf.data.INFINITE_CARDINALITY)
