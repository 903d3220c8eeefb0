"""Plain models of either Keras in a SavedModel: what Keras's own ``export`` writes, and examples of its answers."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.serving.check import Example

_ROWS = 3
_LENGTH = 4  # Of dimensions that are open, besides the batch.


class PlainServable:
    """A Keras model with known inputs, as :class:`~tf_hfwb.serving.signatures.Servable` is one of transformers.

    Its signature ``serving_default`` takes the model's inputs by their names and answers with the outputs by theirs,
    or with ``output_0`` and so on.

    Args:
        model: The model, functional or sequential.

    Raises:
        SettingError: The model does not know its inputs, or takes others than numbers.
    """

    def __init__(self, model: Any) -> None:
        inputs = getattr(model, "inputs", None)
        if not inputs:
            raise SettingError(
                "model",
                type(model).__name__,
                expected="a functional or sequential model, which knows its inputs, or a TF model of transformers",
                advice="Wrap it: inputs = keras.Input(...); keras.Model(inputs, model(inputs)).",
            )
        self._model = model
        random = np.random.default_rng(0)
        values = {}
        for tensor in inputs:
            dtype = np.dtype(getattr(tensor.dtype, "name", tensor.dtype))
            shape = [_ROWS, *(side or _LENGTH for side in tensor.shape[1:])]
            # Ids that any table has; else numbers of all kinds.
            drawn = random.normal(size=shape) if dtype.kind == "f" else random.integers(0, 2, size=shape)
            values[tensor.name] = drawn.astype(dtype)
        flat = list(values.values())
        structure = getattr(model, "_inputs_struct", None) or getattr(model, "_nested_inputs", None)
        if isinstance(structure, dict):
            given: Any = {key: values[tensor.name] for key, tensor in structure.items()}
        else:
            given = flat if len(flat) > 1 else flat[0]
        output = model(given, training=False)
        named = output if isinstance(output, dict) else dict(enumerate(output if _is_list(output) else [output]))
        names = {f"output_{key}" if isinstance(key, int) else key: value for key, value in named.items()}
        self.signatures = ["serving_default"]
        expected = {name: np.asarray(value) for name, value in names.items()}
        self.examples = [Example("serving_default", values, expected)]

    def save(self, path: pathlib.Path) -> None:
        """Write the SavedModel."""
        self._model.export(str(path))


def _is_list(output: Any) -> bool:
    return isinstance(output, (list, tuple))
