"""From Arrow buffers to flat NumPy arrays, without a Python object for each value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
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


@dataclass(frozen=True)
class ColumnLayout:
    """What all rows of a column have in common.

    Attributes:
        shape: The axes of a row; None for the one that varies.
        shortest: The smallest size of that axis; of a row's last axis if none varies.
        longest: The largest one, likewise.
        is_float: Whether it holds floats.
        rows: Equal for two columns whose rows have the same sizes, row by row.
    """

    shape: tuple[int | None, ...]
    shortest: int
    longest: int
    is_float: bool
    rows: bytes

    @classmethod
    def of(cls, name: str, chunks: Iterable[pa.Array]) -> ColumnLayout:
        """Find it chunk by chunk, in memory that does not grow with their number.

        Raises:
            DataError: There are nulls, no value at all, or more than one axis whose size varies.
        """
        bounds: list[tuple[int, int]] = []
        digests: list[Any] = []
        num_values, is_float = 0, False
        for chunk in chunks:
            sizes, values = _unnest(name, chunk)
            num_values, is_float = num_values + len(values), values.dtype.kind == "f"
            bounds, digests = bounds or [(2**62, 0)] * len(sizes), digests or [hashlib.blake2b() for _ in sizes]
            for level, found in enumerate(sizes):
                if len(found):
                    least, most = bounds[level]
                    bounds[level] = min(least, int(found.min())), max(most, int(found.max()))
                    digests[level].update(found)
        _check_not_empty(name, num_values)
        varies = [least != most for least, most in bounds]
        _check_one_varies(name, sum(varies))
        shape = tuple(None if least != most else most for least, most in bounds)
        shortest, longest = bounds[varies.index(True)] if any(varies) else bounds[-1] if bounds else (1, 1)
        return cls(shape, shortest, longest, is_float, b"".join(digest.digest() for digest in digests))

    def read(self, name: str, data: pa.Array) -> Column:
        """Rows of this layout as flat values."""
        sizes, values = _unnest(name, data)
        if None not in self.shape:
            return Column(values.reshape(len(data), *self.shape))
        axis = self.shape.index(None)
        outer, inner = self.shape[:axis], self.shape[axis + 1 :]
        return Column(values.reshape(-1, *inner), sizes[axis].reshape(len(data), *outer))


def read_column(name: str, data: pa.ChunkedArray) -> Column:
    """Read a column of numbers or of nested lists of numbers.

    Raises:
        DataError: It has nulls, no value at all, or more than one axis whose size varies.
    """
    chunks = [_unnest(name, chunk) for chunk in data.chunks if len(chunk)]
    values = np.concatenate([flat for _, flat in chunks])
    _check_not_empty(name, values.size)
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    levels = [np.concatenate(sizes) for sizes in zip(*(sizes for sizes, _ in chunks), strict=True)]
    varies = [bool((sizes != sizes[0]).any()) for sizes in levels]
    _check_one_varies(name, sum(varies))
    shape = [int(sizes[0]) for sizes in levels]
    if True not in varies:
        return Column(values.reshape(len(data), *shape))
    axis = varies.index(True)
    return Column(values.reshape(-1, *shape[axis + 1 :]), levels[axis].reshape(len(data), *shape[:axis]))


def check_labels(name: str, chunks: Iterable[pa.Array]) -> None:
    """Refuse labels that stand for "no label".

    Raises:
        DataError: A label is null, or all are -1 (as in GLUE's test splits).
    """
    num_rows, num_nulls, are_missing = 0, 0, True
    for chunk in chunks:
        num_rows, num_nulls = num_rows + len(chunk), num_nulls + chunk.null_count
        is_signed = pa.types.is_signed_integer(chunk.type)
        are_missing = are_missing and is_signed and not chunk.null_count and bool((chunk.to_numpy() == -1).all())
    if num_nulls:
        raise DataError(
            f"Label column {name!r} has {num_nulls} rows without a value (None). Expected a label in every row. "
            f"Drop them with dataset.filter(lambda row: row[{name!r}] is not None), or remove the column."
        )
    if are_missing:
        raise DataError(
            f"Label column {name!r} is -1 in all {num_rows} rows, which marks a split without labels. Expected "
            f"classes from 0 up. Use a labelled split, or predict without labels: dataset.remove_columns({name!r})."
        )


def _check_not_empty(name: str, num_values: int) -> None:
    if num_values == 0:
        raise DataError(
            f"Column {name!r} is empty in every row. Expected at least one value. Remove it with "
            f"dataset.remove_columns({name!r}), or check the preprocessing."
        )


def _check_one_varies(name: str, number: int) -> None:
    if number > 1:
        raise DataError(
            f"Column {name!r} has nested lists that vary in length at {number} levels. Expected at most one. Pass "
            f"a data_collator that pads it, or pad it with dataset.map."
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
