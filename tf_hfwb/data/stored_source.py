"""A ``datasets.Dataset`` that is larger than what is kept in memory: each batch is read from its Arrow files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import ColumnLayout, check_labels
from tf_hfwb.data.column_batches import ColumnBatches
from tf_hfwb.data.column_roles import Selection
from tf_hfwb.data.column_source import column_kinds
from tf_hfwb.data.data_checks import check_classes, check_width
from tf_hfwb.data.datasets_private import all_chunks, fingerprint, row_numbers, stored_chunks, stored_size
from tf_hfwb.data.padding import PadRules
from tf_hfwb.data.row_padding import column_spec, pad_batch, pad_values
from tf_hfwb.data.sample_source import Source, SourceOptions
from tf_hfwb.data.stored_rows import StoredRows

if TYPE_CHECKING:
    import datasets

Array = npt.NDArray[Any]

LARGEST_IN_MEMORY = 256 * 2**20  # Bytes of the used columns. While they are read in, it is up to three times that.
CHECKED_VALUES = 10**8  # Of labels with a value for each token; more would take long to read before the first step.


def is_kept_in_memory(dataset: datasets.Dataset, options: SourceOptions) -> bool:
    """Whether the columns that a model uses are to be read into memory: as asked for, else by their size."""
    if options.keep_in_memory is not None:
        return options.keep_in_memory
    selection = options.roles.select(column_kinds(dataset))
    return stored_size(dataset, [*selection.inputs, *selection.labels]) <= LARGEST_IN_MEMORY


def stored_source(dataset: datasets.Dataset, options: SourceOptions) -> Source:
    """Read each batch from where the dataset is: memory-mapped files, or Arrow tables in memory.

    All rows are looked at once beforehand, file by file, for their lengths and labels. What is kept does not grow with
    their number, but for what ``datasets`` itself keeps for each chunk of a file.

    Raises:
        DataError: A column cannot be used or does not fit the model.
    """
    selection = options.roles.select(column_kinds(dataset))
    layouts = _check_columns(dataset, selection, options)
    rules = PadRules.of(options.processing_class, selection.labels, options.pad_to_multiple_of, options.max_length)
    stored = {name: StoredRows(all_chunks(dataset, name), layout) for name, layout in layouts.items()}
    numbers = row_numbers(dataset)
    selected = None if numbers is None else StoredRows(numbers, ColumnLayout((), 1, 1, False, b""))
    selection, layouts = options.with_mask(selection, rules, layouts)
    pads = pad_values(layouts, rules)
    specs = {name: column_spec(layout, name in pads, rules) for name, layout in layouts.items()}

    def read(indices: Array, step: int) -> Mapping[str, Array]:
        rows = indices if selected is None else selected.read(indices).values.astype(np.int64)
        return pad_batch({name: column.read(rows) for name, column in stored.items()}, layouts, pads, rules)

    batches = ColumnBatches(read, selection, specs)
    return Source(len(dataset), fingerprint(dataset), batches.in_numpy, batches.in_graph, is_graph=False)


def _check_columns(dataset: datasets.Dataset, selection: Selection, options: SourceOptions) -> dict[str, ColumnLayout]:
    for name in selection.labels:
        check_labels(name, stored_chunks(dataset, name))
    layouts = {
        name: ColumnLayout.of(name, stored_chunks(dataset, name)) for name in (*selection.inputs, *selection.labels)
    }
    for name in selection.inputs:
        check_width(options.model, name, layouts[name].longest)
    if options.is_for_loss and len(selection.labels) == 1:
        (label,) = selection.labels
        for values in _label_values(dataset, label, layouts[label]):
            check_classes(options.model, label, values)
    return layouts


def _label_values(dataset: datasets.Dataset, name: str, layout: ColumnLayout) -> Iterator[Array]:
    left = CHECKED_VALUES
    for chunk in stored_chunks(dataset, name):
        values = layout.read(name, chunk).values
        yield values
        left -= values.size if layout.shape else 0
        if left <= 0:
            return
