"""Metrics as a user's function returned them: as plain Python values, and without nesting.

Results may be nested, as those of seqeval and ``classification_report(output_dict=True)`` are. Where only numbers can
be used, in the run and for callbacks that monitor, each has a name made of all keys: ``overall_f1`` for
``{"overall": {"f1": ...}}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import to_float


def plain_value(value: Any) -> Any:
    """A metric as ``denumpify_detensorize`` of transformers gives it: numbers for arrays of one, whole ones stay so.

    Example:
        >>> plain_value({"f1": np.float32(0.5), "number": np.int64(3), "which": ["a", np.bool_(True)]})
        {'f1': 0.5, 'number': 3, 'which': ['a', True]}
    """
    if isinstance(value, Mapping):
        return {name: plain_value(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain_value, value))
    if isinstance(value, (bool, int, float)) and not isinstance(value, np.generic):
        return value
    number = single_number(value)
    if number is None:
        return value
    kind = np.asarray(value).dtype.kind
    if kind == "b":
        return bool(number)
    return int(np.asarray(value).reshape(())) if kind in "iu" else number


def flat_numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics by names made of all keys; each single number is a float, and anything else stays as it is."""
    flat = {}
    for name, value in leaves(metrics):
        number = single_number(value)
        flat[name] = value if number is None else number
    return flat


def numbers_in(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The single numbers among metrics, by names made of all keys; whole ones stay so.

    Example:
        >>> numbers_in({"step": 3, "nest": {"f1": np.float32(0.5)}, "word": "x"})
        {'step': 3, 'nest_f1': 0.5}
    """
    return {name: plain_value(value) for name, value in leaves(metrics) if single_number(value) is not None}


def leaves(metrics: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested dict, by names made of all keys."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", value


def single_number(value: Any) -> float | None:
    """The number that a number, a NumPy scalar, a tensor or an array of one element is; None for anything else."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # A user's own type may raise anything.
        return None
    if array.dtype.kind == "O":
        return to_float(value) if isinstance(value, int) else None  # An integer beyond 64 bits.
    return to_float(array.reshape(())) if array.size == 1 else None


def in_json(value: Any) -> Any:
    """What JSON can write of a metric; None for what it cannot, such as an array.

    Example:
        >>> in_json({"f1": np.float32(0.5), "matrix": np.eye(2), "name": "x"})
        {'f1': 0.5, 'name': 'x'}
    """
    value = plain_value(value)
    if isinstance(value, Mapping):
        kept = {str(name): in_json(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one is not None}
    if isinstance(value, (list, tuple)):
        kept_items = [in_json(one) for one in value]
        return None if any(one is None for one in kept_items) else kept_items
    return value if isinstance(value, (str, bool, int, float)) else None
