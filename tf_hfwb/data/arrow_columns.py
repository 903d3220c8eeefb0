"""From Arrow buffers to flat NumPy arrays, without a Python object for each value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.

from tf_hfwb.errors import DataError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes:
        values: Dense: [num_rows, *shape]. Ragged: [sum of lengths, *inner shape], row after row.
        lengths: None when dense; else int64 [num_rows, *outer shape], the size of the one axis that varies.
    """

    values: Array
    lengths: Array | None = None

    @property
    def width(self) -> int:
        """The most values of a row in its last axis."""
        if self.lengths is not None:
            return int(self.lengths.max())
        return int(self.values.shape[-1]) if self.values.ndim > 1 else 1

    def as_ragged(self) -> Column:
        """The same rows with the last axis seen as one that may vary."""
        if self.lengths is not None:
            return self
        *outer, width = self.values.shape
        return Column(self.values.reshape(-1), np.full(outer, width, np.int64))


def holds_numbers(kind: pa.DataType) -> bool:
    """Whether a column of this type, lists unpacked, holds integers, floats or bools."""
    while True:
        if isinstance(kind, pa.ExtensionType):
            kind = kind.storage_type
        elif _is_list(kind):
            kind = kind.value_type
        else:
            return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def read_column(name: str, data: pa.ChunkedArray) -> Column:
    """Read a column of numbers or of nested lists of numbers.

    Raises:
        DataError: It has nulls, no value at all, or more than one axis whose size varies.
    """
    chunks = [_unnest(name, chunk) for chunk in data.chunks if len(chunk)]
    values = np.concatenate([flat for _, flat in chunks])
    if values.size == 0:
        raise DataError(
            f"Column {name!r} is empty in every row. Expected at least one value. Remove it with "
            f"dataset.remove_columns({name!r}), or check the preprocessing."
        )
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    levels = [np.concatenate(sizes) for sizes in zip(*(sizes for sizes, _ in chunks), strict=True)]
    varies = [bool((sizes != sizes[0]).any()) for sizes in levels]
    if sum(varies) > 1:
        raise DataError(
            f"Column {name!r} has nested lists that vary in length at {sum(varies)} levels. Expected at most one. Pass "
            f"a data_collator that pads it, or pad it with dataset.map."
        )
    shape = [int(sizes[0]) for sizes in levels]
    if True not in varies:
        return Column(values.reshape(len(data), *shape))
    axis = varies.index(True)
    return Column(values.reshape(-1, *shape[axis + 1 :]), levels[axis].reshape(len(data), *shape[:axis]))


def check_labels(name: str, data: pa.ChunkedArray) -> None:
    """Refuse labels that stand for "no label".

    Raises:
        DataError: A label is null, or all are -1 (as in GLUE's test splits).
    """
    if data.null_count:
        raise DataError(
            f"Label column {name!r} has {data.null_count} rows without a value (None). Expected a label in every row. "
            f"Drop them with dataset.filter(lambda row: row[{name!r}] is not None), or remove the column."
        )
    if pa.types.is_signed_integer(data.type) and all(bool((chunk.to_numpy() == -1).all()) for chunk in data.chunks):
        raise DataError(
            f"Label column {name!r} is -1 in all {len(data)} rows, which marks a split without labels. Expected "
            f"classes from 0 up. Use a labelled split, or predict without labels: dataset.remove_columns({name!r})."
        )


def _unnest(name: str, array: pa.Array) -> tuple[list[Array], Array]:
    """The list sizes at each level, outermost first, and the flat values below them."""
    sizes: list[Array] = []
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
            continue
        if array.null_count:
            raise DataError(
                f"Column {name!r} has {array.null_count} missing values (None). Expected a number everywhere. "
                f"Fill them with dataset.map, or drop the rows with dataset.filter."
            )
        if not _is_list(array.type):
            return sizes, array.to_numpy(zero_copy_only=False)
        if pa.types.is_fixed_size_list(array.type):
            sizes.append(np.full(len(array), array.type.list_size, np.int64))
        else:
            sizes.append(np.diff(array.offsets.to_numpy()).astype(np.int64))
        array = array.flatten()


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
