"""A ``tf.data.Dataset`` of batches, taken as the user made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


def repeated(data: tf.data.Dataset, num_epochs: int | None, start_step: int) -> tf.data.Dataset:
    """``num_epochs`` passes (endless when None) without the first ``start_step`` batches.

    Without a known length it is one pass, which Keras starts anew for each epoch.
    """
    steps_per_epoch = num_batches(data)
    if steps_per_epoch is None:
        return data.skip(start_step)
    epoch, position = divmod(start_step, steps_per_epoch)
    # Skipping within one pass only: repeat().skip() would read all the epochs before.
    begun = data.skip(position)
    if num_epochs is None:
        return begun.concatenate(data.repeat())
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
