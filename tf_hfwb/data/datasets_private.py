"""Private names of datasets, each with its purpose; see ``keras_compat/private_names.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
