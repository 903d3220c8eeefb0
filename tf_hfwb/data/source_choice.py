"""Which source the batches are made of."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tf_hfwb.data.computed_rows import computes_rows, default_collator
from tf_hfwb.data.sample_source import Source, SourceOptions
from tf_hfwb.data.task_source import check_tensorflow, columns_in_memory, has_raw_columns, rows_source
from tf_hfwb.errors import DataError


def source_of(data: Any, options: SourceOptions) -> Source:
    """The source of a ``datasets.Dataset`` or of arrays.

    Raises:
        DataError: The data or an option cannot be used.
    """
    datasets = sys.modules.get("datasets")  # Data of that library can only exist if it has been imported.
    is_raw = options.data_collator is None and has_raw_columns(options.model, data)
    if is_raw:
        check_tensorflow(options.model)
    if is_raw and isinstance(data, Mapping):
        return columns_in_memory(data, options)
    if datasets is None or not isinstance(data, _dataset_types(datasets)):
        from tf_hfwb.data.array_source import array_source
        from tf_hfwb.data.data_checks import check_arrays

        source = array_source(data)
        check_arrays(options.model, data, options.is_for_loss)
        return source
    _check_dataset(data, datasets)
    if is_raw:
        return rows_source(data, options)
    from tf_hfwb.data.collated_source import collated_source
    from tf_hfwb.data.column_source import columns_source
    from tf_hfwb.data.stored_source import is_kept_in_memory, stored_source

    if options.data_collator is not None:
        return collated_source(data, options.data_collator, options)
    if computes_rows(data):
        return collated_source(data, default_collator(options), options)
    return columns_source(data, options) if is_kept_in_memory(data, options) else stored_source(data, options)


def _dataset_types(datasets: Any) -> tuple[type, ...]:
    return datasets.Dataset, datasets.DatasetDict, datasets.IterableDatasetDict


def _check_dataset(data: Any, datasets: Any) -> None:
    if isinstance(data, datasets.DatasetDict | datasets.IterableDatasetDict):
        raise DataError(
            f"A {type(data).__name__} with the splits {list(data)} was given. Expected one of its datasets. "
            f"Pick a split, for example data[{next(iter(data), 'train')!r}]."
        )
    if len(data) == 0:
        raise DataError(
            f"The dataset has no rows (columns {data.column_names}). Expected at least one. "
            f"Check the split and the filters."
        )
