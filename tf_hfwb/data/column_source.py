"""A ``datasets.Dataset`` as a source without Python for each row: columns in memory, of which batches are gathered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from tf_hfwb.data.arrow_columns import check_labels, holds_numbers, read_column
from tf_hfwb.data.data_checks import check_classes, check_width
from tf_hfwb.data.datasets_private import fingerprint, stored_columns
from tf_hfwb.data.padding import PadRules, attention_mask, batch_gatherer, pad_columns
from tf_hfwb.data.row_gathering import row_gatherer
from tf_hfwb.data.sample_source import Source, SourceOptions

if TYPE_CHECKING:
    import datasets
    import tensorflow as tf

Array = npt.NDArray[Any]


def column_kinds(dataset: datasets.Dataset) -> dict[str, bool]:
    """The columns that the dataset's format shows, each with whether it holds numbers."""
    schema = dataset.data.schema
    return {name: holds_numbers(schema.field(name).type) for name in dataset.format["columns"]}


def columns_source(dataset: datasets.Dataset, options: SourceOptions) -> Source:
    """Read the columns once and gather batches from memory.

    Raises:
        DataError: A column cannot be used or does not fit the model.
    """
    selection = options.roles.select(column_kinds(dataset))
    table = stored_columns(dataset, [*selection.inputs, *selection.labels])
    for name in selection.labels:
        check_labels(name, table.column(name).chunks)
    columns = {name: read_column(name, table.column(name)) for name in table.column_names}
    for name in selection.inputs:
        check_width(options.model, name, columns[name].width)
    if options.is_for_loss and len(selection.labels) == 1:
        (label,) = selection.labels
        check_classes(options.model, label, columns[label].values)

    rules = PadRules.of(options.processing_class, selection.labels, options.pad_to_multiple_of, options.max_length)
    if options.wants_mask(selection, rules):
        columns["attention_mask"] = attention_mask(columns["input_ids"])
        selection = dataclasses.replace(selection, inputs=(*selection.inputs, "attention_mask"))
    columns = pad_columns(columns, rules)

    def in_numpy() -> Callable[[Array, int], Any]:
        gather = row_gatherer(columns, rules)
        return lambda indices, step: selection.arrange(gather(indices))

    def in_graph() -> Callable[[tf.Tensor, tf.Tensor], Any]:
        gather = batch_gatherer(columns, rules)
        return lambda indices, step: selection.arrange(gather(indices))

    return Source(len(dataset), fingerprint(dataset), in_numpy, in_graph)
