"""A ``datasets.Dataset`` as a source without Python in the loop: columns in memory, gathered in the graph."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tf_hfwb.data.arrow_columns import check_labels, holds_numbers, read_column
from tf_hfwb.data.data_checks import check_classes, check_width
from tf_hfwb.data.datasets_private import fingerprint, stored_columns
from tf_hfwb.data.padding import PadRules, attention_mask, batch_gatherer, pad_columns
from tf_hfwb.data.sample_source import Source, SourceOptions

if TYPE_CHECKING:
    import datasets
    import tensorflow as tf


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
    gather = batch_gatherer(pad_columns(columns, rules), rules)

    def gather_arranged(indices: tf.Tensor, step: tf.Tensor) -> Any:
        return selection.arrange(gather(indices))

    return Source(len(dataset), fingerprint(dataset), gather_arranged)
