"""NumPy arrays and tensors, possibly nested, as a source."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_hfwb.data.sample_source import Source
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

FINGERPRINTED_ROWS = 64


def array_source(data: Any) -> Source:
    """Samples along the first axis of every array in ``x``, ``(x, y)`` or ``(x, y, sample_weight)``.

    Raises:
        DataError: Not arrays, or arrays whose first axes differ, are scalar or empty.
    """
    import tensorflow as tf

    if isinstance(data, tuple) and not 1 <= len(data) <= 3:
        raise DataError(
            f"A tuple of {len(data)} was given. Expected (x,), (x, y) or (x, y, sample_weight). "
            f"Wrap several inputs of one model in a tuple or dict of their own: ((x1, x2), y)."
        )
    _check_structure(data)
    # On a GPU machine the tensors would otherwise move to the GPU and back for every batch.
    with tf.device("CPU:0"):
        tensors = tf.nest.map_structure(_as_tensor, data)
    flat = tf.nest.flatten(tensors)
    sizes = {int(tensor.shape[0]) if tensor.shape.rank else 0 for tensor in flat}
    if len(sizes) != 1 or 0 in sizes:
        raise DataError(
            f"The arrays have the shapes {[tuple(tensor.shape) for tensor in flat]}. Expected one number of samples, "
            f"at least 1, as the first axis of each. Cut or reshape them."
        )

    def gather(indices: tf.Tensor, step: tf.Tensor) -> Any:
        batch = tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), tensors)
        is_single = isinstance(batch, tuple) and len(batch) == 1 and not isinstance(batch[0], tuple)
        return batch[0] if is_single else batch  # A tuple alone would be taken for inputs and labels.

    return Source(sizes.pop(), _fingerprint(flat), gather)


def _check_structure(part: Any) -> None:
    """Dicts and tuples of arrays only: tf.data would pack a list into one tensor, Keras would take it for inputs."""
    if isinstance(part, dict | tuple):
        for child in part.values() if isinstance(part, dict) else part:
            _check_structure(child)
    elif not (hasattr(part, "shape") and hasattr(part, "dtype") and hasattr(part, "__array__")):
        raise DataError(
            f"A {type(part).__module__}.{type(part).__qualname__} was given as data. Expected a datasets.Dataset, a "
            f"batched tf.data.Dataset, or arrays: x, (x, y) or (x, y, sample_weight), where x and y may be dicts or "
            f"tuples of arrays. Convert lists of equal rows with numpy.asarray, of unequal rows with "
            f"datasets.Dataset.from_dict."
        )


def _as_tensor(array: Any) -> tf.Tensor:
    import tensorflow as tf

    try:
        tensor = tf.convert_to_tensor(array if tf.is_tensor(array) else np.asarray(array))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"An array of type {array.dtype} and shape {array.shape} cannot become a tensor ({error}). Expected "
            f"numbers, bools or strings. Convert it with .astype, or ragged rows with datasets.Dataset.from_dict."
        ) from error
    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.float64 else tensor


def _fingerprint(tensors: list[tf.Tensor]) -> str:
    """From shapes, types and some evenly spaced rows: cheap, and enough to notice other data."""
    import tensorflow as tf

    digest = hashlib.sha256()
    for tensor in tensors:
        rows = np.unique(np.linspace(0, tensor.shape[0] - 1, FINGERPRINTED_ROWS, dtype=np.int64))
        digest.update(f"{tensor.dtype.name}{tuple(tensor.shape)}".encode())
        digest.update(tf.io.serialize_tensor(tf.gather(tensor, rows)).numpy())
    return digest.hexdigest()[:16]
