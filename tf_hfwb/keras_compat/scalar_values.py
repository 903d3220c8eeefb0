"""Single numbers, as hooks of callbacks are handed them: tensors, arrays, functions and plain numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def to_float(value: Any) -> float | None:
    """A float from what a hook was handed: a number, a tensor or array of one element, or a function that gives one.

    Returns:
        None for what is no single number.

    Example:
        >>> import numpy as np
        >>> to_float(np.array([0.5])), to_float(np.array([0.5, 0.25])), to_float(10**400)
        (0.5, None, inf)
    """
    if callable(value):
        value = value()
    try:
        # NumPy refuses the float of an array with a dimension, even of one element.
        return float(np.asarray(value).reshape(())[()] if getattr(value, "shape", ()) else value)
    except (TypeError, ValueError):
        return None
    except OverflowError:  # An integer beyond all floats.
        return math.inf if value > 0 else -math.inf


def describe_value(value: Any) -> str:
    """What a value is that is no single number, for a message."""
    shape = getattr(value, "shape", None)
    return f"of type {type(value).__name__}" if shape is None else f"an array of the shape {tuple(shape)}"
