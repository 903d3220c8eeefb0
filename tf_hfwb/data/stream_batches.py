"""A ``datasets.IterableDataset``, whose rows cannot be fetched by index, as batches.

It is read in blocks, each of which is shuffled by the seed, the pass and its number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import ColumnLayout, check_labels, holds_numbers
from tf_hfwb.data.collated_source import as_arrays, sampled_spec
from tf_hfwb.data.column_batches import ColumnSpec
from tf_hfwb.data.column_roles import Selection
from tf_hfwb.data.data_checks import check_classes, check_width
from tf_hfwb.data.datasets_private import independent_reader
from tf_hfwb.data.padding import PadRules
from tf_hfwb.data.row_padding import column_spec, pad_table, pad_values, ragged_tokens
from tf_hfwb.data.sample_source import SourceOptions
from tf_hfwb.data.step_randomness import seeded_by_step, seeded_global_generators
from tf_hfwb.data.stream_blocks import Block, StreamOrder, stream_rows
from tf_hfwb.data.stream_positions import StreamPositions
from tf_hfwb.data.task_columns import TaskColumns
from tf_hfwb.data.task_source import has_raw_columns
from tf_hfwb.data.task_stream import columns_of_rows, columns_of_texts
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.
    import tensorflow as tf

Array = npt.NDArray[Any]

EXAMINED_ROWS = 1000  # They tell which columns there are, and their shapes.
SAMPLED_ROWS = 8


def is_stream(data: Any) -> bool:
    """Whether it is a ``datasets.IterableDataset``."""
    datasets = sys.modules.get("datasets")  # Such data can only exist if it has been imported.
    return datasets is not None and isinstance(data, datasets.IterableDataset)


@dataclass(frozen=True)
class _Rows:
    """How the rows of a stream become batches.

    Attributes:
        data: The stream, in the format in which it is read.
        join: From the rows of a batch and its number to columns.
        selection: Which of them the model gets.
        specs: Their shapes and types.
    """

    data: datasets.IterableDataset
    join: Callable[[Any, int], Mapping[str, Array]]
    selection: Selection | TaskColumns
    specs: dict[str, ColumnSpec]


class StreamBatches:
    """The batches of a stream.

    Args:
        data: The stream. Each pass calls its ``set_epoch``, so that its own ``shuffle`` differs from pass to pass.
        order: Which rows make up a batch.
        options: How batches are made of rows.
        start_step: Batches to leave out, counted over all passes.
        positions: Blocks that are known, of which the last one before that batch is the first to be read; others are
            added. None: all rows before it are read.

    Raises:
        DataError: The stream is empty, or its columns cannot be used or do not fit the model.
    """

    def __init__(
        self,
        data: datasets.IterableDataset,
        order: StreamOrder,
        options: SourceOptions,
        start_step: int = 0,
        positions: StreamPositions | None = None,
    ) -> None:
        self._order = order
        self._start_step = start_step
        self._positions = StreamPositions() if positions is None else positions
        self._rows = _rows_of(independent_reader(data), options)

    def _columns(self) -> Iterator[Mapping[str, Array]]:
        for number, batch in stream_rows(self._rows.data, self._order, self._start_step, self._positions):
            yield self._rows.join(batch, number)

    def in_numpy(self) -> Iterator[Any]:
        """NumPy arrays, from the first batch on."""
        return map(self._rows.selection.arrange, self._columns())

    def in_graph(self) -> tf.data.Dataset:
        """Tensors."""
        import tensorflow as tf

        rows, order = self._rows, self._order

        def generate() -> Iterator[tuple[Array, ...]]:
            for columns in self._columns():
                yield tuple(columns[name] for name in rows.specs)

        size = order.batch_size if order.drop_remainder else None
        signature = tuple(spec.in_graph(size) for spec in rows.specs.values())
        stream = tf.data.Dataset.from_generator(generate, output_signature=signature)
        stream = stream.map(lambda *columns: rows.selection.arrange(dict(zip(rows.specs, columns, strict=True))))
        if order.passes is None:
            stream = stream.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return stream


def _rows_of(data: datasets.IterableDataset, options: SourceOptions) -> _Rows:
    table = next(data.with_format("arrow").iter(batch_size=EXAMINED_ROWS), None)
    if table is None or table.num_rows == 0:
        raise DataError(
            "The datasets.IterableDataset gave no rows. Expected at least one. Check its files and filters."
        )
    kinds = {field.name: holds_numbers(field.type) for field in table.schema}
    for name in options.roles.label_columns(kinds):
        if kinds[name]:
            check_labels(name, table.column(name).chunks)
    if options.data_collator is None and has_raw_columns(options.model, dict.fromkeys(kinds)):
        columns, specs = columns_of_texts(table, options)
        texts = data.select_columns([*specs]).with_format("arrow")
        return _Rows(texts, lambda rows, step: columns_of_rows(rows, columns), columns, specs)
    if options.data_collator is not None:
        return _collated_rows(data.select_columns(options.roles.columns_for_collator(kinds)), options)
    return _padded_rows(data, table, kinds, options)


def _padded_rows(
    data: datasets.IterableDataset, table: pa.Table, kinds: Mapping[str, bool], options: SourceOptions
) -> _Rows:
    selection = options.roles.select(kinds)
    names = [*selection.inputs, *selection.labels]
    layouts = ragged_tokens({name: ColumnLayout.of(name, table.column(name).chunks) for name in names})
    for name in selection.inputs:
        check_width(options.model, name, layouts[name].longest)
    if options.is_for_loss and len(selection.labels) == 1:
        (label,) = selection.labels
        for chunk in table.column(label).chunks:
            check_classes(options.model, label, layouts[label].read(label, chunk).values)
    rules = PadRules.of(options.processing_class, selection.labels, options.pad_to_multiple_of, options.max_length)
    selection, layouts = options.with_mask(selection, rules, layouts)
    pads = pad_values(layouts, rules)
    specs = {name: column_spec(layout, name in pads, rules) for name, layout in layouts.items()}

    def join(rows: pa.Table, step: int) -> Mapping[str, Array]:
        try:
            return pad_table(rows, layouts, pads, rules)
        except ValueError as error:
            raise DataError(
                f"Batch {step} of a stream has rows of other sizes than the first {EXAMINED_ROWS} rows ({error}). "
                f"Expected the same sizes, or rows that vary from the start. Pass a data_collator that pads them."
            ) from error

    return _Rows(data.select_columns(names).with_format("arrow"), join, selection, specs)


def _collated_rows(data: datasets.IterableDataset, options: SourceOptions) -> _Rows:
    given: Any = options.data_collator
    collator: Callable[[Any, int], Mapping[str, Any]] = seeded_by_step(given, options.seed)

    def join(rows: list[dict[str, Any]], step: int) -> Mapping[str, Array]:
        with seeded_global_generators(options.seed, step):
            return as_arrays(collator(rows, step))

    columns = next(data.iter(batch_size=SAMPLED_ROWS))
    block = Block(columns)
    try:
        samples = [join(block.take(np.arange(number)), 0) for number in (1, len(block))]
    except Exception as error:
        raise DataError(
            f"data_collator failed on the first rows, with the columns {list(columns)} ({error}). Expected a callable "
            f'that turns a list of dicts into a dict of arrays. Check that it is made with return_tensors="np" and '
            f"that the columns it reads are there (remove_unused_columns=False keeps all)."
        ) from error
    selection = options.roles.select({name: value.dtype.kind in "if" for name, value in samples[0].items()})
    specs = {
        name: sampled_spec(name, [sample[name] for sample in samples])
        for name in (*selection.inputs, *selection.labels)
    }
    return _Rows(data, join, selection, specs)
