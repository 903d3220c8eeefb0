"""The order of callbacks that works: what measures, before what acts on it, before what saves it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.keras_compat import Callback


def in_order(callbacks: Iterable[Any]) -> list[Any]:
    """The callbacks in an order that works; those of one kind stay as they are to each other.

    Metrics are logged first, so that nothing is saved without them; then come evaluations, then what looks at their
    results (Keras's callbacks and yours), the tables, early stopping, and saving at last.

    Example:
        >>> from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint
        >>> [type(one).__name__ for one in in_order([WandbModelCheckpoint("out"), WandbMetricsLogger()])]
        ['WandbMetricsLogger', 'WandbModelCheckpoint']
    """
    return sorted(callbacks, key=_place_of)


def _place_of(callback: Any) -> CallbackPlace:
    if isinstance(callback, Callback):
        return getattr(callback, "place", CallbackPlace.OTHERS)
    # transformers' own callback that evaluates: importing it would import TensorFlow.
    evaluates = any(
        base.__name__ == "KerasMetricCallback" and base.__module__.startswith("transformers.")
        for base in type(callback).__mro__
    )
    return CallbackPlace.EVALUATION if evaluates else CallbackPlace.OTHERS
