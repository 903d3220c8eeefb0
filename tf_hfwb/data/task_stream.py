"""Texts of a ``datasets.IterableDataset`` for a task of KerasHub, whose preprocessor gets them as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import holds_numbers
from tf_hfwb.data.collated_source import as_model_type, sampled_spec
from tf_hfwb.data.column_batches import ColumnSpec
from tf_hfwb.data.sample_source import SourceOptions
from tf_hfwb.data.task_columns import NUMBERS, TEXT, TaskColumns, task_columns
from tf_hfwb.data.task_source import check_tensorflow
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.


def columns_of_texts(table: pa.Table, options: SourceOptions) -> tuple[TaskColumns, dict[str, ColumnSpec]]:
    """Which columns of a stream the task gets, with their shapes and types.

    Args:
        table: The first rows.
        options: How batches are made of rows.

    Raises:
        DataError: They cannot be used.
        MissingPackageError: TensorFlow is not installed.
    """
    check_tensorflow(options.model)
    columns = task_columns(options.model, options.roles, {field.name: _kind_of(field) for field in table.schema})
    samples = [columns_of_rows(table.slice(0, number), columns) for number in (1, table.num_rows)]
    return columns, {name: sampled_spec(name, [sample[name] for sample in samples]) for name in samples[0]}


def columns_of_rows(rows: pa.Table, columns: TaskColumns) -> dict[str, npt.NDArray[Any]]:
    """The columns of a batch.

    Raises:
        DataError: A text is missing.
    """
    texts = {name: rows.column(name).to_pylist() for name in columns.inputs}
    for name, values in texts.items():
        if None in values:
            raise DataError(
                f"Column {name!r} of a stream has a row without a value (None). Expected a text in every row. "
                f"Drop it with dataset.filter(lambda row: row[{name!r}] is not None)."
            )
    found = {name: np.array([value.encode() for value in values], object) for name, values in texts.items()}
    return found | {name: as_model_type(np.asarray(rows.column(name).to_pylist())) for name in columns.labels}


def _kind_of(field: pa.Field) -> str | None:
    import pyarrow as pa

    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return TEXT
    if pa.types.is_struct(field.type) and {"bytes", "path"} <= {part.name for part in field.type}:
        raise DataError(
            f"Column {field.name!r} of a datasets.IterableDataset holds images. Expected texts for a task of KerasHub: "
            "images of a stream are not decoded. Pass a datasets.Dataset, or a batched tf.data.Dataset of images."
        )
    return NUMBERS if holds_numbers(field.type) else None
