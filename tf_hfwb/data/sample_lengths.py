"""The length of each sample of a ``datasets.Dataset``, without reading the samples themselves."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.
import pyarrow.compute as pc  # type: ignore[import-untyped]

from tf_hfwb.data.datasets_private import stored_columns
from tf_hfwb.errors import DataError


def sample_lengths(data: Any, length_column_name: str, processing_class: Any) -> npt.NDArray[Any]:
    """The length of each sample: what a column says, else the number of values of the main input.

    Args:
        data: A ``datasets.Dataset``.
        length_column_name: The column with the lengths, if there is one of that name.
        processing_class: The tokenizer or processor, which names the main input; else it is ``input_ids``.

    Raises:
        DataError: The data is of another kind, has neither of the two columns, or a sample has no length.

    Follows ``Trainer._get_train_sampler`` of transformers.
    """
    datasets = sys.modules.get("datasets")
    if datasets is None or not isinstance(data, datasets.Dataset):
        raise DataError(
            f"group_by_length=True was given with a {type(data).__module__}.{type(data).__qualname__}. Expected a "
            f"datasets.Dataset, whose samples can be batched by their lengths. Pass one, or leave group_by_length out; "
            f"a tf.data.Dataset can do it itself, by bucket_by_sequence_length."
        )
    main_input = (getattr(processing_class, "model_input_names", None) or ["input_ids"])[0]
    if length_column_name in data.column_names:
        lengths, name = stored_columns(data, [length_column_name]).column(0), length_column_name
    elif main_input in data.column_names and _is_list(data.data.schema.field(main_input).type):
        lengths, name = pc.list_value_length(stored_columns(data, [main_input]).column(0)), main_input
    else:
        raise DataError(
            f"group_by_length=True, and the columns {data.column_names} tell no lengths. Expected a column "
            f"{length_column_name!r}, or lists in {main_input!r}. Add one with dataset.map, and name it with "
            f"length_column_name if it is called otherwise."
        )
    if lengths.null_count or not pa.types.is_integer(lengths.type):
        raise DataError(
            f"Column {name!r} tells no length in {lengths.null_count} rows, and its lengths are of the type "
            f"{lengths.type}. Expected an integer for every sample, with group_by_length=True. Correct it with "
            f"dataset.map."
        )
    return np.asarray(lengths.to_numpy())


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
