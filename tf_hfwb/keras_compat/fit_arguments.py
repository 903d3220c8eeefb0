"""The arguments of the running ``fit``, which Keras does not give to callbacks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def has_callbacks_of_others(model: Any) -> bool:
    """Whether the running ``fit`` has callbacks that are neither ours nor Keras's: they may add metrics to the logs."""
    everyone = getattr(fit_arguments(model).get("callbacks"), "callbacks", ())
    known = {"keras", "tf_keras", "tf_hfwb"}
    return any(type(callback).__module__.partition(".")[0] not in known for callback in everyone)


def fit_arguments(model: Any) -> Mapping[str, Any]:
    """The local variables of the ``fit`` of ``model`` that is on the stack; empty outside of a fit.

    In both Kerases ``validation_data`` is also what ``validation_split`` has split off, and ``callbacks`` is Keras's
    list of all callbacks. Call this when training begins, on the training thread.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit":
            found = frame.f_locals
            if found.get("self") is model and {"callbacks", "validation_data"} <= found.keys():
                return found
        frame = frame.f_back  # type: ignore[assignment]
    return {}
