"""Padding of the rows of one batch in NumPy, with the results of ``padding.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import Column, ColumnLayout
from tf_hfwb.data.padding import PER_TOKEN_COLUMNS, PadRules, raise_other_lengths

Array = npt.NDArray[Any]


def pad_values(layouts: Mapping[str, ColumnLayout], rules: PadRules) -> dict[str, int]:
    """The columns that need padding, each with its pad value.

    Raises:
        DataError: No value is known, or a per-token column has other lengths than ``input_ids``.
    """
    padded = {name for name, layout in layouts.items() if None in layout.shape}
    tokens = layouts.get("input_ids")
    if tokens is not None:
        for name in PER_TOKEN_COLUMNS:
            if name in layouts and layouts[name].rows != tokens.rows:
                raise_other_lengths(name)
        if None not in tokens.shape and rules.width(tokens.longest) != tokens.longest:
            padded |= {"input_ids"} | {name for name in rules.values if _is_per_token(layouts.get(name), tokens)}
    return {
        name: rules.value_for(name, layout.shortest, layout.longest)
        for name, layout in layouts.items()
        if name in padded
    }


def pad_column(column: Column, value: int, rules: PadRules) -> Array:
    """The rows of one batch, padded to one width: int64 [batch, ..., width] for integers, float32 for floats."""
    column = column.as_ragged()
    lengths: Any = column.lengths
    width = rules.width(int(lengths.max()))
    places = np.arange(width)
    is_value = places >= width - lengths[..., None] if rules.is_left else places < lengths[..., None]
    batch = np.full((*is_value.shape, *column.values.shape[1:]), value, final_type(column.values))
    batch[is_value] = column.values
    return batch


def final_type(values: Array) -> npt.DTypeLike:
    """The type in which a model gets these values."""
    return np.float32 if values.dtype.kind == "f" else np.int64


def _is_per_token(layout: ColumnLayout | None, tokens: ColumnLayout) -> bool:
    return layout is not None and layout.rows == tokens.rows
