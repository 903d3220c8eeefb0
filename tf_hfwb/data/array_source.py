"""NumPy arrays and tensors, possibly nested, as a source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.sample_source import Source
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[Any]

FINGERPRINTED_ROWS = 64


def array_source(data: Any) -> Source:
    """Samples along the first axis of every array in ``x``, ``(x, y)`` or ``(x, y, sample_weight)``.

    Raises:
        DataError: Not arrays, or arrays whose first axes differ, are scalar or empty.
    """
    if isinstance(data, tuple) and not 1 <= len(data) <= 3:
        raise DataError(
            f"A tuple of {len(data)} was given. Expected (x,), (x, y) or (x, y, sample_weight). "
            f"Wrap several inputs of one model in a tuple or dict of their own: ((x1, x2), y)."
        )
    _check_structure(data)
    arrays = _map(_as_array, data)
    flat: list[Array] = []
    _map(flat.append, arrays)
    sizes = {len(array) if array.ndim else 0 for array in flat}
    if len(sizes) != 1 or 0 in sizes:
        raise DataError(
            f"The arrays have the shapes {[array.shape for array in flat]}. Expected one number of samples, "
            f"at least 1, as the first axis of each. Cut or reshape them."
        )
    return Source(sizes.pop(), _fingerprint(flat), lambda: _numpy_gatherer(arrays), lambda: _graph_gatherer(arrays))


def _numpy_gatherer(arrays: Any) -> Callable[[Array, int], Any]:
    return lambda indices, step: _without_tuple_of_one(_map(lambda array: array[indices], arrays))


def _graph_gatherer(arrays: Any) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    import tensorflow as tf

    # On a GPU machine the tensors would otherwise move to the GPU and back for every batch.
    with tf.device("CPU:0"):
        tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)

    def gather(indices: tf.Tensor, step: tf.Tensor) -> Any:
        return _without_tuple_of_one(tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), tensors))

    return gather


def _without_tuple_of_one(batch: Any) -> Any:
    is_single = isinstance(batch, tuple) and len(batch) == 1 and not isinstance(batch[0], tuple)
    return batch[0] if is_single else batch  # A tuple alone would be taken for inputs and labels.


def _map(function: Callable[[Any], Any], part: Any) -> Any:
    """The same structure of what the function makes of each array."""
    if isinstance(part, dict):
        return {name: _map(function, child) for name, child in part.items()}
    if isinstance(part, tuple):
        children = [_map(function, child) for child in part]
        return type(part)(*children) if hasattr(part, "_fields") else tuple(children)
    return function(part)


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
            f"datasets.Dataset.from_dict; give a loader of Grain or PyTorch to model.fit or TFTrainer itself."
        )


def _as_array(given: Any) -> Array:
    try:
        array = np.asarray(given)
        # Objects become nothing of numbers; of these Keras and TensorFlow take texts only.
        is_other = array.dtype.kind in "Mm" or array.dtype.names is not None
        if is_other or (array.dtype == object and not _are_texts(array)):
            raise TypeError(f"{array.dtype} is no type of numbers")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"An array of type {given.dtype} and shape {given.shape} cannot become a tensor ({error}). Expected "
            f"numbers, bools or strings. Convert it with .astype, or ragged rows with datasets.Dataset.from_dict."
        ) from error
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _are_texts(array: Array) -> bool:
    return all(isinstance(value, str | bytes) for value in array.flat)


def _fingerprint(arrays: list[Array]) -> str:
    """From shapes, types and some evenly spaced rows: cheap, and enough to notice other data."""
    digest = hashlib.sha256()
    for array in arrays:
        rows = array[np.unique(np.linspace(0, len(array) - 1, FINGERPRINTED_ROWS, dtype=np.int64))]
        digest.update(f"{array.dtype.name}{array.shape}".encode())
        digest.update(repr(rows.tolist()).encode() if array.dtype == object else rows.tobytes())
    return digest.hexdigest()[:16]
