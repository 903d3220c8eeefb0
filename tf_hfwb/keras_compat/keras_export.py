"""A plain model as a SavedModel, by the ``export`` of its own Keras."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any


def export_plain(model: Any, path: pathlib.Path) -> None:
    """Write a plain model of either Keras; nothing is printed."""
    if "verbose" in inspect.signature(model.export).parameters:
        model.export(str(path), verbose=False)
        return
    from tf_keras.src.utils import io_utils

    # The export of tf_keras has no such argument.
    is_talking = io_utils.is_interactive_logging_enabled()
    io_utils.disable_interactive_logging()
    try:
        model.export(str(path))
    finally:
        if is_talking:
            io_utils.enable_interactive_logging()


def structure_of_inputs(model: Any) -> Any:
    """The inputs that a functional model was made with, as they are nested; None when that is not known."""
    for name in ("_inputs_struct", "_nested_inputs"):  # Of Keras 3, and of tf_keras.
        structure = getattr(model, name, None)
        if structure is not None:
            return structure
    return None
