"""Columns in memory, of which rows are gathered and padded in NumPy, with the results of ``padding.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import Column
from tf_hfwb.data.padding import PadRules
from tf_hfwb.data.row_padding import final_type, pad_column

Array = npt.NDArray[Any]


def row_gatherer(columns: Mapping[str, Column], rules: PadRules) -> Callable[[Array], dict[str, Array]]:
    """A function from indices (int64 [batch]) to padded columns: int64 for integers and bools, float32 for floats."""
    starts: dict[str, Array] = {}
    pads: dict[str, int] = {}
    for name, column in columns.items():
        if column.lengths is not None:
            pads[name] = rules.value_for(name, int(column.lengths.min()), int(column.lengths.max()))
            starts[name] = (np.cumsum(column.lengths) - column.lengths.reshape(-1)).reshape(column.lengths.shape)

    def gather(indices: Array) -> dict[str, Array]:
        batch = {}
        for name, column in columns.items():
            if column.lengths is None:
                rows = column.values[indices]
                batch[name] = rows.astype(final_type(rows), copy=False)
                continue
            lengths = column.lengths[indices]
            places = _places(starts[name][indices].reshape(-1), lengths.reshape(-1))
            batch[name] = pad_column(Column(column.values[places], lengths), pads[name], rules)
        return batch

    return gather


def _places(starts: Array, lengths: Array) -> Array:
    """Where the values of rows lie, row after row."""
    begins = np.cumsum(lengths) - lengths
    return np.repeat(starts - begins, lengths) + np.arange(int(lengths.sum()))
