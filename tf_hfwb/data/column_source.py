"""A ``datasets.Dataset`` as a source without Python in the loop: columns in memory, gathered in the graph."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tf_hfwb.data.arrow_columns import check_labels, holds_numbers, read_column
from tf_hfwb.data.column_roles import Roles
from tf_hfwb.data.data_checks import check_classes, check_width
from tf_hfwb.data.datasets_private import fingerprint, stored_columns
from tf_hfwb.data.padding import PadRules, attention_mask, batch_gatherer, pad_columns
from tf_hfwb.data.sample_source import Source
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import datasets
    import tensorflow as tf


def column_kinds(dataset: datasets.Dataset) -> dict[str, bool]:
    """The columns that the dataset's format shows, each with whether it holds numbers."""
    schema = dataset.data.schema
    return {name: holds_numbers(schema.field(name).type) for name in dataset.format["columns"]}


def columns_source(
    dataset: datasets.Dataset,
    model: Any,
    roles: Roles,
    processing_class: Any,
    pad_to_multiple_of: int | None,
    is_for_loss: bool = True,
) -> Source:
    """Read the columns once and gather batches from memory.

    Args:
        dataset: The dataset.
        model: The model that the columns must fit.
        roles: Which columns are inputs and labels.
        processing_class: The tokenizer, whose pad values are used.
        pad_to_multiple_of: Round padded widths up to a multiple of this.
        is_for_loss: Whether the labels must be what the model's loss takes.

    Raises:
        DataError: The dataset computes rows on access, or a column cannot be used or does not fit the model.
    """
    if dataset.format["type"] == "custom":
        raise DataError(
            "The dataset computes its rows on access (set_transform or with_transform). Expected stored columns. Use "
            "dataset.map instead of the transform, or pass a data_collator, which reads rows one by one."
        )
    selection = roles.select(column_kinds(dataset))
    table = stored_columns(dataset, [*selection.inputs, *selection.labels])
    for name in selection.labels:
        check_labels(name, table.column(name))
    columns = {name: read_column(name, table.column(name)) for name in table.column_names}
    for name in selection.inputs:
        check_width(model, name, columns[name].width)
    if is_for_loss and len(selection.labels) == 1:
        (label,) = selection.labels
        check_classes(model, label, columns[label].values)

    rules = PadRules.of(processing_class, selection.labels, pad_to_multiple_of)
    is_mask_wanted = rules.has_mask and "attention_mask" not in columns and roles.accepts("attention_mask")
    if "input_ids" in selection.inputs and is_mask_wanted:
        columns["attention_mask"] = attention_mask(columns["input_ids"])
        selection = dataclasses.replace(selection, inputs=(*selection.inputs, "attention_mask"))
    gather = batch_gatherer(pad_columns(columns, rules), rules)

    def gather_arranged(indices: tf.Tensor) -> Any:
        return selection.arrange(gather(indices))

    return Source(len(dataset), fingerprint(dataset), gather_arranged)
