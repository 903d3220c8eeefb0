"""Values of labels: missing ones, and sets of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_hfwb.errors import DataError


def is_missing(value: Any) -> bool:
    """Whether a label is missing: null, or -1 as in GLUE's test splits."""
    return value is None or (isinstance(value, (int, np.integer)) and value == -1)


def as_sets(values: Sequence[Any], number: int, *, are_ids: bool) -> list[list[float]]:
    """Turn sets of classes into one value for each class: 1 where it belongs to the set.

    Args:
        values: Of each sample the numbers of its classes, or already a value for each class; None where it is unknown,
            of which NaN is made.
        number: How many classes there are.
        are_ids: They are known to be numbers of classes; otherwise zeros and ones for all classes are none.

    Raises:
        DataError: A number is that of no class.

    Example:
        >>> as_sets([[2], [0, 1], []], 3, are_ids=False)
        [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
        >>> as_sets([[1, 0, 1], [0, 0, 0]], 3, are_ids=False)
        [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    given = [value for value in values if value is not None]
    if not are_ids and all(len(value) == number for value in given):
        are_ids = any(one not in (0, 1) and isinstance(one, (int, np.integer)) for value in given for one in value)
        if not are_ids:
            return [[np.nan] * number if value is None else [float(one) for one in value] for value in values]
    wrong = next((one for value in given for one in value if not 0 <= one < number), None)
    if wrong is not None:
        raise DataError(
            f"A list of labels has {wrong!r}. Expected the numbers of classes, from 0 to {number - 1}, or one value of "
            f"0 or 1 for each of the {number} classes. Check model.config.num_labels."
        )
    sets = np.zeros((len(values), number))
    for row, value in zip(sets, values, strict=True):
        if value is None:
            row[:] = np.nan
        else:
            row[[int(one) for one in value]] = 1.0
    return [[float(one) for one in row] for row in sets]
