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


def export_plain(model: Any, path: pathlib.Path, length: int | None = None) -> None:
    """Write a plain model of either Keras without printing anything.

    Args:
        model: The model.
        path: Where to.
        length: The size of all axes that are open besides the batch, for a model on JAX; None to leave them open.
    """
    if "verbose" in inspect.signature(model.export).parameters:
        more = {} if length is None else {"input_signature": [_fixed_signature(model, length)]}
        model.export(str(path), verbose=False, **more)
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


def _fixed_signature(model: Any, length: int) -> Any:
    import keras

    def fix(tensor: Any) -> Any:
        batch, *rest = tensor.shape
        return keras.InputSpec(tensor.dtype, (batch, *(size or length for size in rest)), name=tensor.name)

    return keras.tree.map_structure(fix, structure_of_inputs(model))


def may_refuse_open_axes(model: Any) -> bool:
    """Whether the model is on JAX, which compares sizes as it compiles, and inputs have open ones besides the batch."""
    inputs = getattr(model, "inputs", None) or ()
    if keras3_private.structure_of_inputs(model) is None or not any(None in tensor.shape[1:] for tensor in inputs):
        return False
    import keras

    return bool(keras.backend.backend() == "jax")


def structure_of_inputs(model: Any) -> Any:
    """The nested structure of a functional model's inputs; None when it is not known."""
    structure = keras3_private.structure_of_inputs(model)
    return tf_keras_private.structure_of_inputs(model) if structure is None else structure
