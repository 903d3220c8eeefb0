"""A plain model as a SavedModel, by the ``export`` of its own Keras."""

from __future__ import annotations

import importlib
import inspect
import pathlib
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import keras3_private, tf_keras_private


def check_exportable(model: Any) -> None:
    """Refuse a Keras 3 model on PyTorch; whatever is no model passes.

    Raises:
        SettingError: It is one.
    """
    packages = {ancestor.__module__.partition(".")[0] for ancestor in type(model).__mro__}
    if "keras" in packages and importlib.import_module("keras").backend.backend() == "torch":
        raise SettingError(
            "KERAS_BACKEND",
            "torch",
            expected="'tensorflow' or 'jax': a SavedModel is a graph of TensorFlow, and Keras makes none on PyTorch",
            advice="Save the model with model.save('model.keras'), and export that file in a process with "
            "KERAS_BACKEND=tensorflow.",
        )


def export_plain(model: Any, path: pathlib.Path) -> None:
    """Write a plain model of either Keras without printing anything."""
    if "verbose" in inspect.signature(model.export).parameters:
        model.export(str(path), verbose=False)
        return
    # The export of tf_keras has no such argument.
    logging = tf_keras_private.interactive_logging()
    is_talking = logging.is_interactive_logging_enabled()
    logging.disable_interactive_logging()
    try:
        model.export(str(path))
    finally:
        if is_talking:
            logging.enable_interactive_logging()


def structure_of_inputs(model: Any) -> Any:
    """The nested structure of a functional model's inputs; None when it is not known."""
    structure = keras3_private.structure_of_inputs(model)
    return tf_keras_private.structure_of_inputs(model) if structure is None else structure
