"""Which samples of a data set: evenly spread where they can be fetched by index, else the first ones."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def chosen(data: Any, number: int) -> Any:
    """At most ``number`` samples, the same every time.

    Args:
        data: A ``datasets.Dataset`` or ``IterableDataset``, arrays (also in tuples and dicts), or a batched
            ``tf.data.Dataset``, of which as many batches are kept in memory as are needed. Anything else is returned as
            it is.
        number: How many.
    """
    datasets, tensorflow = sys.modules.get("datasets"), sys.modules.get("tensorflow")
    if datasets is not None and isinstance(data, datasets.Dataset):
        return data.select(_spread(len(data), number))
    if datasets is not None and isinstance(data, datasets.IterableDataset):
        return datasets.Dataset.from_list(list(data.take(number)), features=data.features)
    if tensorflow is not None and isinstance(data, tensorflow.data.Dataset):
        batches, found = 0, 0
        for batch in data:
            batches += 1
            found += int(tensorflow.nest.flatten(batch)[0].shape[0])
            if found >= number:
                break
        # Kept: a data set that shuffles would give others the next time.
        return data.take(batches).cache()
    if isinstance(data, dict):
        return {name: chosen(value, number) for name, value in data.items()}
    if isinstance(data, tuple):
        return tuple(chosen(value, number) for value in data)
    return data[_spread(len(data), number)] if isinstance(data, np.ndarray) else data


def _spread(length: int, number: int) -> np.ndarray:
    """Indices from the first to the last: a data set may be sorted by its labels.

    Example:
        >>> _spread(10, 4).tolist(), _spread(3, 4).tolist(), _spread(0, 4).tolist()
        ([0, 3, 6, 9], [0, 1, 2], [])
    """
    return np.unique(np.linspace(0, max(0, length - 1), min(length, number)).astype(np.int64))
