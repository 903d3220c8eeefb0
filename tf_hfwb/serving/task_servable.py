"""A task of KerasHub as a SavedModel that takes texts or images, with the preprocessor in it."""

from __future__ import annotations

import logging
import pathlib
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_hfwb.errors import ExportError
from tf_hfwb.keras_compat import export_plain, may_refuse_open_axes, plain_to_float32
from tf_hfwb.keras_compat.hub_tasks import is_sequence_to_sequence, parts_of_preprocessor, prepare_inputs, takes_pairs
from tf_hfwb.messages import first_line
from tf_hfwb.serving.export_check import Example

if TYPE_CHECKING:
    import tensorflow as tf

_logger = logging.getLogger("tf_hfwb")

_TEXTS = ["The quick brown fox jumps over the lazy dog.", "in 2024?", "", "It is the end of the very long day"]


class TaskServable:
    """A task of KerasHub with its preprocessor.

    Its signature ``serving_default`` takes what ``predict`` takes: ``text``, ``encoder_text`` and ``decoder_text``, or
    ``images``; that of a classifier of texts is also called ``text``, and ``text_pairs`` takes ``text`` and
    ``text_pair``. The signature ``prepared`` takes what the preprocessor gives. All answer with ``output_0``.

    Args:
        model: The task.
    """

    def __init__(self, model: Any) -> None:
        self._task = model
        self._model = plain_to_float32(model)
        self._length: int | None = None
        self.signatures: list[str] = []
        self.examples: list[Example] = []

    @property
    def needs_text_operations(self) -> bool:
        """Whether whoever loads it needs the operations of tensorflow-text."""
        return self._task.preprocessor.tokenizer is not None

    def save(self, path: pathlib.Path) -> None:
        """Write the SavedModel.

        Raises:
            ExportError: The model cannot be exported, or its preprocessor is none of graph operations.
        """
        import tensorflow as tf

        with tempfile.TemporaryDirectory() as directory:
            self._export_inner(pathlib.Path(directory, "inner"))
            served = tf.Module()
            served.inner = tf.saved_model.load(str(pathlib.Path(directory, "inner")))
            inner = served.inner.signatures["serving_default"]
            served.functions = {name: self._with_preprocessor(inner, inputs) for name, inputs in self._kinds().items()}
            served.parts = parts_of_preprocessor(self._task)
            signatures = {**served.functions, "serving_default": next(iter(served.functions.values()))}
            # Those of JAX cannot be written a second time, and a server computes none.
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(served, str(path), {**signatures, "prepared": inner}, options)
        self.signatures = ["serving_default", *served.functions, "prepared"]
        self.examples = self._make_examples()

    def _export_inner(self, path: pathlib.Path) -> None:
        """Write the model without its preprocessor, for sequences of any length where the backend can do that."""
        length = getattr(self._task.preprocessor, "sequence_length", None)
        try:
            export_plain(self._model, path)
        except Exception:
            if length is None or not may_refuse_open_axes(self._model):
                raise
            self._length = length
            export_plain(self._model, path, length)

    def _kinds(self) -> dict[str, list[str]]:
        """The signatures, each with the names of its inputs."""
        preprocessor = self._task.preprocessor
        if is_sequence_to_sequence(self._task):
            return {"text_pairs": ["encoder_text", "decoder_text"]}
        if preprocessor.tokenizer is None:
            return {"images": ["images"]}
        pairs = {"text_pairs": ["text", "text_pair"]} if takes_pairs(self._task) else {}
        return {"text": ["text"], **pairs}

    def _with_preprocessor(self, inner: Any, names: list[str]) -> Any:
        """The function of a signature."""
        import tensorflow as tf

        specs = inner.structured_input_signature[1]

        def call(**inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
            prepared = prepare_inputs(self._task, self._arrange(inputs))
            if not isinstance(prepared, Mapping):
                prepared = dict.fromkeys(specs, prepared)
            return inner(**{name: tf.cast(prepared[name], spec.dtype) for name, spec in specs.items()})

        try:
            return tf.function(call).get_concrete_function(**{name: _spec(name) for name in names})
        except Exception as error:
            raise ExportError(
                f"The preprocessor of {type(self._task).__name__} cannot be in the graph: {first_line(error)} Expected "
                "operations of TensorFlow and tensorflow-text, of the same version. Install tensorflow-text; or set "
                "model.preprocessor = None, to export a model that takes token ids."
            ) from error

    def _arrange(self, inputs: Mapping[str, Any]) -> Any:
        if "encoder_text" in inputs:
            return dict(inputs)
        values = tuple(inputs.values())
        return values[0] if len(values) == 1 else values

    def _make_examples(self) -> list[Example]:
        """Requests, with what the task gives."""
        examples = []
        for signature, names in self._kinds().items():
            size = self._task.preprocessor.image_size or (32, 32)
            values = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.float32)
            inputs = {name: np.array(_TEXTS[place:] + _TEXTS[:place]) for place, name in enumerate(names)}
            inputs = {"images": values} if names == ["images"] else inputs
            prepared = prepare_inputs(self._task, self._arrange(inputs))
            answer = np.asarray(self._model(prepared, training=False))
            examples += [Example(name, inputs, {"output_0": answer}) for name in ("serving_default", signature)]
        return examples[:1] + [one for one in examples if one.signature != "serving_default"]


def _spec(name: str) -> tf.TensorSpec:
    import tensorflow as tf

    if name == "images":
        return tf.TensorSpec([None, None, None, 3], tf.float32, name)
    return tf.TensorSpec([None], tf.string, name)
