"""The arguments of the running ``fit``, which Keras does not give to callbacks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tf_hfwb.call_stack import calls_of


def has_callbacks_of_others(model: Any) -> bool:
    """Whether the running ``fit`` has callbacks that are neither ours nor Keras's: they may add metrics to the logs."""
    everyone = getattr(fit_arguments(model).get("callbacks"), "callbacks", ())
    known = {"keras", "tf_keras", "tf_hfwb"}
    return any(type(callback).__module__.partition(".")[0] not in known for callback in everyone)


def is_evaluating(model: Any) -> bool:
    """Whether this is called from the model's ``evaluate`` or ``predict``, be it within a ``fit`` or not."""
    innermost = next(calls_of(sys._getframe(1), ("fit", "evaluate", "predict"), model), None)
    return innermost is not None and innermost.f_code.co_name != "fit"


def fit_arguments(model: Any) -> Mapping[str, Any]:
    """The local variables of the ``fit`` of ``model`` that is on the stack; empty outside of a fit.

    In both Kerases ``validation_data`` is also what ``validation_split`` has split off, and ``callbacks`` is Keras's
    list of all callbacks. Call this when training begins, on the training thread.
    """
    for call in calls_of(sys._getframe(1), ("fit",), model):
        found = dict(call.f_locals)  # From Python 3.13 on it is a view of the frame.
        if {"callbacks", "validation_data"} <= found.keys():
            return found
    return {}
