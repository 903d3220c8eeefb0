"""The states of NumPy's and Python's generators, as bytes that a checkpoint keeps beside those of PyTorch's."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np

NUMPY, PYTHON = "numpy", "python"

_KEYS = 624  # Of the Mersenne Twister, which both are.
_REST = struct.Struct("<i?d")  # Behind the keys: the place among them, and a number that is drawn already.


def states_of_process() -> dict[str, Any]:
    """The states as of now, by the generator's name, as the libraries give them."""
    return {NUMPY: np.random.get_state(), PYTHON: random.getstate()}


def to_bytes(name: str, state: Any) -> np.ndarray:
    """A state as an array of bytes."""
    if name == NUMPY:
        _, keys, place, has_gauss, gauss = state
    else:
        _, (*values, place), drawn = state
        keys, has_gauss, gauss = np.array(values, np.uint32), drawn is not None, drawn or 0.0
    return np.frombuffer(keys.astype("<u4").tobytes() + _REST.pack(place, bool(has_gauss), gauss), np.uint8)


def is_process_state(state: np.ndarray) -> bool:
    """Whether a tensor can be such a state; another one would fail in the middle of ``fit``."""
    data = np.array(state).tobytes()
    return len(data) == 4 * _KEYS + _REST.size and 0 <= _REST.unpack(data[4 * _KEYS :])[0] <= _KEYS


def restore_process(name: str, state: np.ndarray) -> None:
    """Let that generator continue from there."""
    data = np.array(state).tobytes()
    keys = np.frombuffer(data[: 4 * _KEYS], "<u4")
    place, has_gauss, gauss = _REST.unpack(data[4 * _KEYS :])
    if name == NUMPY:
        np.random.set_state(("MT19937", keys, place, int(has_gauss), gauss))
    else:
        random.setstate((3, (*keys.tolist(), place), gauss if has_gauss else None))
