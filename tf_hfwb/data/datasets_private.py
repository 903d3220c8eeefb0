"""Private names of datasets, each with its purpose; see ``keras_compat/private_names.py``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_hfwb.keras_compat.private_names import looks_up

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.

_looks_up = looks_up("datasets")


@_looks_up
def fingerprint(dataset: datasets.Dataset) -> str:
    """What changes with the rows of a data set, and is known without reading them."""
    return dataset._fingerprint


def stored_columns(dataset: datasets.Dataset, names: list[str]) -> pa.Table:
    """The named columns in the dataset's own order of rows (``_indices``).

    After select, shuffle or train_test_split the rows lie elsewhere. The public way fetches them one by one.
    """
    if not hasattr(dataset, "_indices"):
        return dataset.select_columns(names).with_format("arrow")[:]
    table = dataset.data.table.select(names)
    return table if dataset._indices is None else table.take(dataset._indices.column(0))


def stored_chunks(dataset: datasets.Dataset, name: str) -> Iterator[pa.Array]:
    """One column chunk by chunk, in the order of its files and without the rows that are not selected (``_indices``).

    Reading the files in their own order is quick, and never holds more than one chunk.
    """
    indices = getattr(dataset, "_indices", None)
    column = dataset.data.column(name)
    is_selected = None
    if indices is not None:
        is_selected = np.zeros(len(column), bool)
        for chunk in indices.column(0).chunks:
            is_selected[chunk.to_numpy()] = True
    start = 0
    for chunk in column.chunks:
        rows = slice(start, start + len(chunk))
        start = rows.stop
        if is_selected is not None and not is_selected[rows].all():
            import pyarrow as pa

            chunk = chunk.filter(pa.array(is_selected[rows]))
        if len(chunk):
            yield chunk


def all_chunks(dataset: datasets.Dataset, name: str) -> list[pa.Array]:
    """One column chunk by chunk, with the rows that are not selected, too."""
    return [chunk for chunk in dataset.data.column(name).chunks if len(chunk)]


def row_numbers(dataset: datasets.Dataset) -> list[pa.Array] | None:
    """Which of all rows the selected ones are (``_indices``), chunk by chunk; None where they are all rows in order."""
    indices = getattr(dataset, "_indices", None)
    return None if indices is None else [chunk for chunk in indices.column(0).chunks if len(chunk)]


def stored_size(dataset: datasets.Dataset, names: list[str]) -> int:
    """About how many bytes the named columns take (``nbytes`` knows nothing of ``_indices``)."""
    table = dataset.data.table.select(names)
    return int(table.nbytes * len(dataset) / max(1, table.num_rows))


@_looks_up
def independent_reader(dataset: datasets.IterableDataset) -> datasets.IterableDataset:
    """The same stream with a place of its own in it (``_ex_iterable``).

    Streams that were made of one another share their places: with ``take(n)`` for an evaluation and ``skip(n)`` for the
    training, reading one would move the other. ``copy.copy`` would share all attributes.
    """
    reader: Any = object.__new__(type(dataset))
    reader.__dict__.update(dataset.__dict__)
    reader._ex_iterable = _with_own_place(dataset._ex_iterable)
    reader._epoch, reader._starting_state_dict = 0, None
    return reader


def _with_own_place(source: Any) -> Any:
    """A copy of what a stream is made of, whose parts keep their places (``_state_dict``) for it alone."""
    own = copy.copy(source)
    if hasattr(own, "ex_iterable"):
        own.ex_iterable = _with_own_place(own.ex_iterable)
    if hasattr(own, "ex_iterables"):
        own.ex_iterables = [_with_own_place(each) for each in own.ex_iterables]
    return own


def fixed_order_error() -> type[Exception] | tuple[()]:
    """What a stream raises whose files cannot be read in another order; nothing in versions that lack it."""
    from datasets import iterable_dataset

    return getattr(iterable_dataset, "DataSourcesShufflingDisallowed", ())
