"""A ``datasets.Dataset`` whose rows a Python function joins to batches, as a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import check_labels
from tf_hfwb.data.column_roles import Roles, Selection
from tf_hfwb.data.column_source import column_kinds
from tf_hfwb.data.datasets_private import fingerprint, stored_columns
from tf_hfwb.data.sample_source import Source
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import datasets
    import tensorflow as tf

Array = npt.NDArray[Any]
Collator = Callable[[list[dict[str, Any]]], Mapping[str, Any]]

SAMPLED_ROWS = 8


def collated_source(dataset: datasets.Dataset, roles: Roles, data_collator: Collator) -> Source:
    """Fetch rows by index and give them to ``data_collator``, one batch at a time and in the order of the steps.

    The collator is called twice on a few rows beforehand, to learn the names, types and shapes of its batches.

    Raises:
        DataError: The collator fails on these rows or returns no mapping of arrays.
    """
    fingerprint_of_all = fingerprint(dataset)  # That of the columns which are selected below is another one.
    if dataset.format["type"] != "custom":  # A transform may need columns that the model does not know.
        kinds = column_kinds(dataset)
        columns = roles.columns_for_collator(kinds)
        for name in roles.label_columns(kinds):
            if kinds[name]:
                check_labels(name, stored_columns(dataset, [name]).column(name))
        dataset = dataset.select_columns(columns)

    def collate(indices: Array) -> dict[str, Array]:
        batch = data_collator(dataset.__getitems__(indices.tolist()))
        return {name: _as_array(value) for name, value in batch.items() if value is not None}

    samples = _collate_samples(collate, len(dataset), dataset.column_names)
    selection = roles.select({name: value.dtype.kind in "if" for name, value in samples[0].items()})
    names = [*selection.inputs, *selection.labels]
    specs = [_spec(name, [sample[name] for sample in samples]) for name in names]
    return Source(len(dataset), fingerprint_of_all, _gatherer(collate, selection, names, specs), is_graph=False)


def _gatherer(
    collate: Callable[[Array], dict[str, Array]], selection: Selection, names: list[str], specs: list[tf.TensorSpec]
) -> Callable[[tf.Tensor], Any]:
    import tensorflow as tf

    def in_order(indices: Array) -> list[Array]:
        batch = collate(indices)
        return [batch[name] for name in names]

    def gather(indices: tf.Tensor) -> Any:
        tensors = tf.numpy_function(in_order, [indices], [spec.dtype for spec in specs])
        batch = {
            name: tf.ensure_shape(tensor, spec.shape) for name, tensor, spec in zip(names, tensors, specs, strict=True)
        }
        return selection.arrange(batch)

    return gather


def _collate_samples(
    collate: Callable[[Array], dict[str, Array]], num_samples: int, columns: list[str]
) -> list[dict[str, Array]]:
    """Two batches of different rows and sizes, to find axes whose size varies."""
    rows = np.unique(np.linspace(0, num_samples - 1, SAMPLED_ROWS, dtype=np.int64))
    try:
        return [collate(rows[:1]), collate(rows)]
    except Exception as error:
        raise DataError(
            f"data_collator failed on rows {rows.tolist()} with the columns {columns} ({error}). Expected a callable "
            f'that turns a list of dicts into a dict of arrays. Check that it is made with return_tensors="np" and '
            f"that the columns it reads are there (remove_unused_columns=False keeps all)."
        ) from error


def _spec(name: str, arrays: list[Array]) -> tf.TensorSpec:
    import tensorflow as tf

    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1 or 0 in ranks:
        raise DataError(
            f"data_collator returned {name!r} with {sorted(ranks)} axes for different rows. Expected the same number "
            f"every time, the first one the batch. Pad or stack the rows in the collator."
        )
    first = arrays[0]
    # Token-like axes vary sooner or later, even if the sampled rows happen to agree.
    is_tokens = first.dtype == np.int64 and first.ndim <= 3
    sizes = zip(*(array.shape[1:] for array in arrays), strict=True)
    shape = [None if is_tokens or len(set(axis)) > 1 else axis[0] for axis in sizes]
    return tf.TensorSpec([None, *shape], first.dtype)


def _as_array(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind in "biu":
        return array.astype(np.int64, copy=False)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
