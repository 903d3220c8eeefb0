"""The order of callbacks that works: what measures, before what acts on it, before what saves it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# By the class or one of its bases; Keras's own callbacks and everybody else's are in between.
_PLACES = {
    "WandbMetricsLogger": 0,
    "WandbWatch": 1,
    "EvaluateDuringFit": 2,
    "KerasMetricCallback": 2,
    "WandbEvalTable": 4,
    "WandbEvalCallback": 4,
    "tf_hfwb.EarlyStopping": 5,  # Its count of an epoch belongs into that epoch's checkpoint.
    "GuestStates": 6,
    "TrainingTotals": 6,
    "WandbModelCheckpoint": 7,
    "StopAfterSteps": 8,
}
_ELSE = 3


def in_order(callbacks: Iterable[Any]) -> list[Any]:
    """The callbacks in an order that works; those of one kind stay as they are to each other.

    Metrics are logged first, so that nothing is saved without them; then come evaluations, then what looks at their
    results (Keras's callbacks and yours), the tables, early stopping, and saving at last.

    Example:
        >>> from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint
        >>> [type(one).__name__ for one in in_order([WandbModelCheckpoint("out"), WandbMetricsLogger()])]
        ['WandbMetricsLogger', 'WandbModelCheckpoint']
    """
    return sorted(callbacks, key=_place)


def _place(callback: Any) -> int:
    for base in type(callback).__mro__:
        ours = f"tf_hfwb.{base.__name__}" if base.__module__.startswith("tf_hfwb.") else base.__name__
        for name in (ours, base.__name__):
            if name in _PLACES:
                return _PLACES[name]
    return _ELSE
