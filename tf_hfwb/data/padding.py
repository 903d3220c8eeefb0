"""Padding to the longest row of the batch, as graph operations, with the results of transformers' data collators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import Column
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[Any]

IGNORED_LABEL = -100
# What a tokenizer makes for each token, besides input_ids: these have as many values as there are tokens.
PER_TOKEN_COLUMNS = ("attention_mask", "token_type_ids", "special_tokens_mask")


@dataclass(frozen=True)
class PadRules:
    """How the columns of one dataset are padded.

    Attributes:
        values: Pad value by column.
        is_left: Padding goes before the values, as decoder-only models want it for generation.
        multiple: Widths are rounded up to a multiple of this.
        max_length: The width of every batch; None for that of its longest row.
        has_mask: The tokenizer's batches have an ``attention_mask``.
    """

    values: Mapping[str, int]
    is_left: bool = False
    multiple: int | None = None
    max_length: int | None = None
    has_mask: bool = False

    @classmethod
    def of(
        cls, processing_class: Any, label_columns: Iterable[str], multiple: int | None, max_length: int | None
    ) -> PadRules:
        """The rules of a tokenizer, or of a processor that holds one; without either, no column can be padded."""
        if not hasattr(processing_class, "pad_token_id"):
            processing_class = getattr(processing_class, "tokenizer", None)
        if processing_class is None:
            return cls({}, multiple=multiple, max_length=max_length)
        values = {
            "input_ids": processing_class.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": processing_class.pad_token_type_id,
            "special_tokens_mask": 1,
            **dict.fromkeys(label_columns, IGNORED_LABEL),
        }
        has_mask = "attention_mask" in processing_class.model_input_names
        return cls(values, processing_class.padding_side == "left", multiple, max_length, has_mask)

    def width(self, longest: Any) -> Any:
        """The width of a batch, an int or a tensor as its longest row is."""
        width = longest if self.max_length is None else self.max_length
        return width if self.multiple is None else -(-width // self.multiple) * self.multiple

    def value_for(self, name: str, shortest: int, longest: int) -> int:
        """The pad value of a column that needs padding.

        Args:
            name: The column.
            shortest: The size of its shortest row.
            longest: The size of its longest row.

        Raises:
            DataError: None is known, or rows are too long.
        """
        if self.max_length is not None and longest > self.width(longest):
            raise DataError(
                f"Column {name!r} has rows of up to {longest} values, and max_length={self.max_length}. Expected no "
                f"longer ones. Cut them: tokenizer(texts, truncation=True, max_length={self.max_length})."
            )
        value = self.values.get(name)
        if value is not None:
            return value
        what = f"Column {name!r} has rows of {shortest} to {longest} values and needs padding"
        if name in self.values:
            raise DataError(
                f"{what}, but the tokenizer has no pad token. Expected one. "
                f"Set tokenizer.pad_token = tokenizer.eos_token."
            )
        raise DataError(
            f"{what}, but no pad value is known for it. Expected rows of one length, or a column that the tokenizer in "
            f"processing_class pads. Pass processing_class=tokenizer, or a data_collator, or pad with dataset.map."
        )


def pad_columns(columns: Mapping[str, Column], rules: PadRules) -> dict[str, Column]:
    """Turn the dense columns that must be widened to the multiple into ragged ones.

    Raises:
        DataError: A per-token column has other lengths than ``input_ids``.
    """
    columns = dict(columns)
    tokens = columns.get("input_ids")
    if tokens is None:
        return columns
    for name in PER_TOKEN_COLUMNS:
        if name in columns and not _have_same_rows(columns[name], tokens):
            raise_other_lengths(name)
    if tokens.lengths is not None or rules.width(tokens.width) == tokens.width:
        return columns
    per_token = [name for name in columns if name in rules.values and _have_same_rows(columns[name], tokens)]
    return columns | {name: columns[name].as_ragged() for name in {"input_ids", *per_token}}


def raise_other_lengths(name: str) -> NoReturn:
    """Refuse a column of values for each token that has more of them, or fewer.

    Raises:
        DataError: Always.
    """
    raise DataError(
        f"Columns 'input_ids' and {name!r} have rows of different lengths. Expected as many values as tokens. "
        f"Make both in the same tokenizer call, or remove {name!r}."
    )


def attention_mask(tokens: Column) -> Column:
    """A mask of ones over the tokens; padding adds the zeros."""
    return Column(np.ones(tokens.values.shape, np.int8), tokens.lengths)


def batch_gatherer(columns: Mapping[str, Column], rules: PadRules) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A function from indices (int64 [batch]) to padded columns: int64 for integers and bools, float32 for floats."""
    import tensorflow as tf

    layouts: list[_Layout] = []
    readers: dict[str, tuple[tf.Tensor, int | None]] = {}
    # On a GPU machine the tensors would otherwise move to the GPU and back for every batch.
    with tf.device("CPU:0"):
        for name, column in columns.items():
            if column.lengths is None:
                readers[name] = (tf.constant(column.values), None)
                continue
            pad_value = rules.value_for(name, int(column.lengths.min()), int(column.lengths.max()))
            layout = next((known for known in layouts if np.array_equal(known.lengths, column.lengths)), None)
            if layout is None:
                layout = _Layout(column.lengths, rules)
                layouts.append(layout)
            readers[name] = (tf.constant(_append_pad(column.values, pad_value)), layouts.index(layout))

    def gather(indices: tf.Tensor) -> dict[str, tf.Tensor]:
        positions = [layout.positions(indices) for layout in layouts]
        batch = {}
        for name, (values, layout_index) in readers.items():
            values = tf.gather(values, indices if layout_index is None else positions[layout_index])
            batch[name] = tf.cast(values, tf.float32 if values.dtype.is_floating else tf.int64)
        return batch

    return gather


class _Layout:
    """Where the rows of a ragged column lie; shared by the columns whose rows are equally long."""

    def __init__(self, lengths: Array, rules: PadRules):
        import tensorflow as tf

        self.lengths = lengths
        self._rules = rules
        self._one_length = int(lengths.min()) if lengths.min() == lengths.max() else None
        self._pad_position = int(lengths.sum())
        self._row_lengths = tf.constant(lengths)
        self._row_starts = tf.constant((np.cumsum(lengths) - lengths.reshape(-1)).reshape(lengths.shape))

    def positions(self, indices: tf.Tensor) -> tf.Tensor:
        """Positions in the flat values (int64 [batch, *outer, width]); padding points at the appended pad value."""
        import tensorflow as tf

        starts = tf.gather(self._row_starts, indices)[..., tf.newaxis]
        lengths = tf.gather(self._row_lengths, indices)[..., tf.newaxis]
        width = self._rules.width(tf.reduce_max(lengths) if self._one_length is None else self._one_length)
        offsets = tf.range(width, dtype=lengths.dtype)
        if self._rules.is_left:
            offsets = offsets - (width - lengths)
        return tf.where((offsets >= 0) & (offsets < lengths), starts + offsets, self._pad_position)


def _append_pad(values: Array, pad_value: int) -> Array:
    """With the pad value as last element, one gather both reads and pads."""
    if values.dtype == np.uint64:
        values = values.astype(np.int64)  # No signed type holds both uint64 and -100; NumPy would choose float64.
    if values.dtype.kind != "f":
        values = values.astype(np.promote_types(values.dtype, np.min_scalar_type(pad_value)), copy=False)
    return np.concatenate([values, np.full((1, *values.shape[1:]), pad_value, values.dtype)])


def _have_same_rows(column: Column, tokens: Column) -> bool:
    if column.lengths is None or tokens.lengths is None:
        return column.lengths is tokens.lengths and column.values.shape == tokens.values.shape
    return np.array_equal(column.lengths, tokens.lengths)
