"""Loaders of PyTorch and Grain, and a ``keras.utils.PyDataset``: batches of the user's, taken as they are."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_ENDLESS = 2**40  # Grain gives a repeated data set a length beyond any, and divides it by the size of a batch.


def is_loader(data: Any) -> bool:
    """Whether Keras 3 takes batches of it as it does of a ``tf.data.Dataset``."""
    torch, grain, keras = (sys.modules.get(name) for name in ("torch.utils.data", "grain", "keras"))
    if hasattr(data, "is_endless"):  # Batches of this package.
        return False
    return (
        (torch is not None and isinstance(data, torch.DataLoader))
        or (grain is not None and isinstance(data, (grain.DataLoader, grain.MapDataset, grain.IterDataset)))
        or (keras is not None and isinstance(data, keras.utils.PyDataset))
    )


def length_of_loader(data: Any) -> int | None:
    """The batches of one pass; None where there is no end, or the loader does not tell."""
    try:
        number = len(data)
    except TypeError:
        return None
    return number if number < _ENDLESS else None


def repeated(data: Any) -> Any:
    """The loader for ``fit`` with ``steps_per_epoch``, which ends with a finite data set of Grain after one pass."""
    grain = sys.modules.get("grain")
    is_finite_map = grain is not None and isinstance(data, grain.MapDataset) and length_of_loader(data) is not None
    return data.repeat() if is_finite_map else data


def read_loader(data: Any) -> Iterator[Any]:
    """One pass over the batches, as NumPy arrays."""
    if not hasattr(data, "__getitem__"):
        return map(_in_numpy, data)
    number = length_of_loader(data)
    return (_in_numpy(data[index]) for index in (itertools.count() if number is None else range(number)))


def _in_numpy(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _in_numpy(value) for name, value in part.items()}
    if isinstance(part, (list, tuple)):  # A list of inputs and labels is a tuple of them, as for Keras.
        return tuple(map(_in_numpy, part))
    return np.asarray(part)
