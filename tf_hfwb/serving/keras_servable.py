"""Plain models of either Keras as a SavedModel, written by Keras's own ``export``, with examples of its answers."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

from tf_hfwb.errors import ExportError, SettingError
from tf_hfwb.keras_compat import (
    check_exportable,
    export_plain,
    may_refuse_open_axes,
    plain_to_float32,
    structure_of_inputs,
)
from tf_hfwb.messages import first_line
from tf_hfwb.serving.export_check import Example

_ROWS = 3
_LENGTH, _SIDE = 4, 32  # Of dimensions that are open, besides the batch: of a sequence, and of a picture.
_TEXTS = ["the quick fox", "", "Déjà vu 😀"]


class PlainServable:
    """A Keras model with known inputs.

    :class:`~tf_hfwb.serving.transformers_servable.Servable` is the same for a model of transformers.

    Its signature ``serving_default`` takes the model's inputs by their names and answers with the outputs by theirs,
    or with ``output_0`` and so on. It computes in float32.

    Args:
        model: The model, functional or sequential.
        length: The size of all axes that are open besides the batch, where JAX cannot leave them open.

    Raises:
        SettingError: The model does not know its inputs.
    """

    def __init__(self, model: Any, length: int | None = None) -> None:
        import tensorflow as tf

        check_exportable(model)
        if not getattr(model, "inputs", None):
            raise SettingError(
                "model",
                type(model).__name__,
                expected="a functional or sequential model, which knows its inputs, or a TF model of transformers",
                advice="Wrap it: inputs = keras.Input(...); keras.Model(inputs, model(inputs)).",
            )
        self._model = plain_to_float32(model)
        self._length = length
        random = np.random.default_rng(0)
        values = {tensor.name: _random_values(tensor, random, length) for tensor in self._model.inputs}
        structure = structure_of_inputs(self._model)
        if structure is None:
            structure = self._model.inputs[0] if len(values) == 1 else list(self._model.inputs)
        output = self._model(tf.nest.map_structure(lambda tensor: values[tensor.name], structure), training=False)
        named = output if isinstance(output, dict) else dict(enumerate(output if _is_list(output) else [output]))
        names = {f"output_{key}" if isinstance(key, int) else key: value for key, value in named.items()}
        self.signatures = ["serving_default"]
        expected = {name: np.asarray(value) for name, value in names.items()}
        inputs = {re.sub(r"[^A-Za-z0-9_.]", "_", name): np.asarray(value) for name, value in values.items()}
        self.examples = [Example("serving_default", inputs, expected)]

    def save(self, path: pathlib.Path) -> None:
        """Write the SavedModel.

        Raises:
            ExportError: JAX cannot leave the length of a sequence open, and it is not known.
        """
        if self._length is None and may_refuse_open_axes(self._model):
            try:
                export_plain(self._model, path)
            except Exception as error:  # Of JAX, of whatever kind.
                raise ExportError(
                    f"{type(self._model).__name__} cannot be exported from JAX for sequences of any length: "
                    f"{first_line(error)} Expected a model that compares no sizes, or one length for all. Pass "
                    "max_length=..., to which callers pad, or export it with KERAS_BACKEND=tensorflow."
                ) from error
            return
        export_plain(self._model, path, self._length)


def _random_values(tensor: Any, random: np.random.Generator, length: int | None = None) -> Any:
    """Values for an input: texts, numbers of all kinds, or ids that any table has."""
    import tensorflow as tf

    name = getattr(tensor.dtype, "name", tensor.dtype)
    side = length or (_SIDE if len(tensor.shape) > 3 else _LENGTH)
    shape = [_ROWS, *(given or side for given in tensor.shape[1:])]
    if name == "string":
        texts = np.array([text.encode() for text in _TEXTS])
        return tf.constant(random.choice(texts, shape))
    dtype = np.dtype(name)
    return (random.normal(size=shape) if dtype.kind == "f" else random.integers(0, 2, size=shape)).astype(dtype)


def _is_list(output: Any) -> bool:
    return isinstance(output, (list, tuple))
