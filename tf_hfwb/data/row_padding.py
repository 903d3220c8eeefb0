"""Padding of the rows of one batch in NumPy, with the results of ``padding.py``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import Column, ColumnLayout
from tf_hfwb.data.column_batches import ColumnSpec
from tf_hfwb.data.padding import PER_TOKEN_COLUMNS, PadRules, raise_other_lengths

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.

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


def pad_table(
    table: pa.Table, layouts: Mapping[str, ColumnLayout], pads: Mapping[str, int], rules: PadRules
) -> dict[str, Array]:
    """The columns of one batch; an ``attention_mask`` that the table lacks is made."""
    table = table.combine_chunks()
    columns = {name: layouts[name].read(name, table.column(name).chunk(0)) for name in table.column_names}
    return pad_batch(columns, layouts, pads, rules)


def pad_batch(
    columns: Mapping[str, Column], layouts: Mapping[str, ColumnLayout], pads: Mapping[str, int], rules: PadRules
) -> dict[str, Array]:
    """The columns of one batch, as :func:`pad_table`."""
    columns = dict(columns)
    if "attention_mask" in layouts and "attention_mask" not in columns:
        tokens = columns["input_ids"]
        columns["attention_mask"] = Column(np.ones(tokens.values.shape, np.int8), tokens.lengths)
    return {
        name: pad_column(columns[name], pads[name], rules)
        if name in pads
        else columns[name].values.astype(final_type(columns[name].values), copy=False)
        for name in layouts
    }


def column_spec(layout: ColumnLayout, is_padded: bool, rules: PadRules) -> ColumnSpec:
    """The shape of a row of a column and its type, as :func:`pad_table` gives them."""
    shape = list(layout.shape)
    if is_padded:
        axis = shape.index(None) if None in shape else len(shape) - 1
        shape[axis] = None if rules.max_length is None and None in layout.shape else rules.width(layout.longest)
    return ColumnSpec(tuple(shape), np.dtype(np.float32 if layout.is_float else np.int64))


def ragged_tokens(layouts: Mapping[str, ColumnLayout]) -> dict[str, ColumnLayout]:
    """The layouts of the first rows, with those of tokens taken for ones that vary, as later rows may be longer."""
    tokens = layouts.get("input_ids")
    found = dict(layouts)
    for name, layout in layouts.items():
        if tokens is not None and layout.rows == tokens.rows and layout.shape and None not in layout.shape:
            found[name] = dataclasses.replace(layout, shape=(*layout.shape[:-1], None))
    return found


def final_type(values: Array) -> npt.DTypeLike:
    """The type in which a model gets these values."""
    return np.float32 if values.dtype.kind == "f" else np.int64


def _is_per_token(layout: ColumnLayout | None, tokens: ColumnLayout) -> bool:
    return layout is not None and layout.rows == tokens.rows
