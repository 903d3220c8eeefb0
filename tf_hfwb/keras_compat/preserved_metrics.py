"""An evaluation in the middle of ``fit`` that leaves the running epoch as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np


@contextlib.contextmanager
def preserve_metrics(model: Any) -> Iterator[None]:
    """Put metric values, history and the stop flag back after an evaluation in the middle of ``fit``."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    values = [np.array(variable.numpy()) for variable in variables]
    history, stop = getattr(model, "history", None), model.stop_training
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        model.history, model.stop_training = history, stop
