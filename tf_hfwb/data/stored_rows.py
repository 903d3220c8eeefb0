"""Rows of an Arrow column by their numbers, copied from where the column lies, such as memory-mapped files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.

from tf_hfwb.data.arrow_columns import Column, ColumnLayout

Array = npt.NDArray[Any]


class StoredRows:
    """A column, chunk by chunk, with a view of the values of each.

    Args:
        chunks: All rows of the column, also those that are never read, which may be of any size, or null.
        layout: What the rows that are read have in common.
    """

    def __init__(self, chunks: Sequence[pa.Array], layout: ColumnLayout) -> None:
        self._layout = layout
        self._axis = layout.shape.index(None) if None in layout.shape else None
        self._chunks = [_Chunk.of(chunk) for chunk in chunks]
        ends = np.cumsum([len(chunk) for chunk in chunks])
        self._starts = np.concatenate([[0], ends[:-1]])

    def read(self, rows: Array) -> Column:
        """Rows by their numbers (integers [batch]), in this order."""
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        places = rows - self._starts[numbers]
        pieces: list[Array] = []
        lengths: list[Array] = []
        for number, place in zip(numbers.tolist(), places.tolist(), strict=True):
            self._chunks[number].read(place, self._axis, pieces, lengths)
        values = np.concatenate(pieces)
        if self._axis is None:
            return Column(values.reshape(len(rows), *self._layout.shape))
        outer, inner = self._layout.shape[: self._axis], self._layout.shape[self._axis + 1 :]
        return Column(values.reshape(-1, *inner), np.concatenate(lengths).astype(np.int64).reshape(len(rows), *outer))


@dataclass(frozen=True)
class _Chunk:
    """One chunk.

    Attributes:
        levels: For each level of lists the offsets of the lists, or where the first one begins and the size of all.
        values: What is below them; an Arrow array where NumPy cannot have a view of it.
    """

    levels: tuple[Array | tuple[int, int], ...]
    values: Array | pa.Array

    @classmethod
    def of(cls, array: pa.Array) -> _Chunk:
        levels: list[Array | tuple[int, int]] = []
        while True:
            if isinstance(array, pa.ExtensionArray):
                array = array.storage
            elif pa.types.is_fixed_size_list(array.type):
                levels.append((array.offset, array.type.list_size))
                array = array.values
            elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
                levels.append(array.offsets.to_numpy())
                array = array.values
            else:
                has_view = not array.null_count and not pa.types.is_boolean(array.type)
                return cls(tuple(levels), array.to_numpy() if has_view else array)

    def read(self, place: int, axis: int | None, pieces: list[Array], lengths: list[Array]) -> None:
        """Add the values of a row, and the sizes of its lists at one level."""
        begin, end = place, place + 1
        for number, level in enumerate(self.levels):
            if isinstance(level, tuple):
                begin, end = (level[0] + begin) * level[1], (level[0] + end) * level[1]
                continue
            if number == axis:
                lengths.append(level[begin + 1 : end + 1] - level[begin:end])
            begin, end = level[begin], level[end]
        if isinstance(self.values, np.ndarray):
            pieces.append(self.values[begin:end])
        else:
            pieces.append(self.values.slice(begin, end - begin).to_numpy(zero_copy_only=False))
