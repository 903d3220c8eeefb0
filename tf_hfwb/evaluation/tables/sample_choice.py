"""Choose samples of a data set: evenly spread where they can be fetched by index, else the first ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tf_hfwb.evaluation.batch_parts import num_samples


def choose_samples(data: Any, number: int) -> Any:
    """Choose at most ``number`` samples, the same every time.

    Args:
        data: A ``datasets.Dataset`` or ``IterableDataset``, arrays or tensors (also in tuples and dicts), or a batched
            ``tf.data.Dataset``, of which more may be left than are needed. Anything else is returned as it is.
        number: The number of samples.
    """
    datasets, tensorflow = sys.modules.get("datasets"), sys.modules.get("tensorflow")
    if datasets is not None and isinstance(data, datasets.Dataset):
        return data.select(_spread_indices(len(data), number))
    if datasets is not None and isinstance(data, datasets.IterableDataset):
        return datasets.Dataset.from_list(list(data.take(number)), features=data.features)
    if datasets is not None and isinstance(data, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        return data
    if tensorflow is not None and isinstance(data, tensorflow.data.Dataset):
        return data.take(number)  # As many batches, also of an endless one.
    if isinstance(data, dict):
        return {name: choose_samples(value, number) for name, value in data.items()}
    if isinstance(data, tuple):
        return tuple(choose_samples(value, number) for value in data)
    if hasattr(data, "__array__") and len(getattr(data, "shape", ())):
        return np.asarray(data)[_spread_indices(len(data), number)]
    return data


def take_first(batches: Iterable[Any], number: int) -> Iterator[Any]:
    """The batches that hold the first samples, the last of them cut; each may be a tuple or a dict of arrays."""
    for batch in batches:
        yield _cut(batch, number)
        number -= num_samples(batch)
        if number <= 0:
            return


def _cut(batch: Any, number: int) -> Any:
    if isinstance(batch, Mapping):
        return {name: _cut(value, number) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_cut(value, number) for value in batch)
    return batch[:number] if isinstance(batch, np.ndarray) else batch


def _spread_indices(length: int, number: int) -> np.ndarray:
    """Indices from the first to the last, evenly spread, as a data set may be sorted by its labels.

    Example:
        >>> _spread_indices(10, 4).tolist(), _spread_indices(3, 4).tolist(), _spread_indices(0, 4).tolist()
        ([0, 3, 6, 9], [0, 1, 2], [])
    """
    return np.unique(np.linspace(0, max(0, length - 1), min(length, number)).astype(np.int64))
