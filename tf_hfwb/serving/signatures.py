"""The functions of a SavedModel for a TF model of transformers, and examples of what they answer."""

from __future__ import annotations

import contextlib
import inspect
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import in_float32
from tf_hfwb.serving.check import Example
from tf_hfwb.serving.generation import Continuation, Spelling, is_spelled
from tf_hfwb.serving.outputs import Outputs
from tf_hfwb.serving.pictures import PicturesInGraph, examples
from tf_hfwb.serving.texts import TextsInGraph

_USUAL = ("generate_text", "text", "image_bytes", "token_ids", "pixel_values")  # The first there is, is the default.
_TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Déjà vu 😀 in 2024?",
    "",
    "It's the end of the very long day",
]
_PROMPTS = ["The quick brown fox", "In 2024,"]
_OTHERS = [*_TEXTS[1:], _TEXTS[0]]


class Servable:
    """A model as a ``tf.Module`` that holds its weights and tables only.

    With the model itself in it, TensorFlow would trace each layer again and take three times as long.

    Args:
        model: A TF model of transformers, built.
        processing: The tokenizer or the image processor in the graph; None to have no signature that takes texts, or
            pictures.
        tokenizer: The tokenizer itself, for the examples.
        max_new_tokens: See :class:`~tf_hfwb.serving.generation.Continuation`; 0 for no signature that generates.

    Raises:
        SettingError: The model takes neither token ids nor pictures.
    """

    def __init__(
        self,
        model: Any,
        processing: TextsInGraph | PicturesInGraph | None,
        tokenizer: Any,
        max_new_tokens: int | None = 0,
    ) -> None:
        import tensorflow as tf

        self._model = in_float32(model)
        self._texts = texts = processing if isinstance(processing, TextsInGraph) else None
        self._tokenizer = tokenizer
        self._outputs = Outputs(self._model)
        self._inputs = _inputs_of(self._model)
        self._answer = tf.function(self._compute, input_signature=[self._inputs])
        self.signatures: dict[str, Any] = {}
        self.examples: list[Example] = []
        if model.main_input_name == "pixel_values":
            self._add_pixel_values()
            if isinstance(processing, PicturesInGraph):
                self._add_pictures(processing)
        else:
            self._add_token_ids()
            if texts is not None and len(self._inputs["input_ids"].shape) == 2 and not self._takes_decoder:
                self._add_texts(texts)
            if model.can_generate() and max_new_tokens != 0:
                self._add_generation(Continuation(self._model, max_new_tokens))
        usual = next(name for name in _USUAL if name in self.signatures)
        self.signatures["serving_default"] = self.signatures[usual]

    @property
    def _takes_decoder(self) -> bool:
        return "decoder_input_ids" in self._inputs

    def save(self, path: pathlib.Path) -> None:
        """Write the SavedModel."""
        import tensorflow as tf

        module = tf.Module()
        module.weights = list(self._model.weights)
        module.tables = [] if self._texts is None else self._texts.tables
        with contextlib.ExitStack() as stack:
            if self._outputs.labels:
                directory = stack.enter_context(tempfile.TemporaryDirectory())
                file = pathlib.Path(directory, "labels.txt")
                file.write_text("".join(f"{label}\n" for label in self._outputs.labels), encoding="utf-8")
                module.labels = tf.saved_model.Asset(str(file))
            tf.saved_model.save(module, str(path), signatures=self.signatures)

    # -- what is computed ------------------------------------------------------------------------------------------

    def _compute(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The answers for a batch, which may be empty."""
        import tensorflow as tf

        number = tf.shape(next(iter(inputs.values())))[0]
        filled = {}
        for name, value in inputs.items():
            # Models cannot reshape nothing: they get a row of zeros instead, and its answers are dropped.
            shape = tf.shape(value)
            missing = tf.concat([tf.maximum(1 - shape[:1], 0), tf.maximum(shape[1:], 1)], 0)
            widened = tf.cond(number > 0, lambda v=value: v, lambda m=missing, v=value: tf.zeros(m, v.dtype))
            filled[name] = tf.ensure_shape(widened, value.shape)
        answers = self._outputs(self._model(filled, training=False, return_dict=True))
        return {name: value[:number] for name, value in answers.items()}

    def _expected(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the Python model gives, eagerly."""
        import tensorflow as tf

        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        answers = self._outputs(self._model(tensors, training=False, return_dict=True))
        return {name: value.numpy() for name, value in answers.items()}

    def _add(self, name: str, function: Callable[..., Any], inputs: Mapping[str, Any]) -> None:
        import tensorflow as tf

        self.signatures[name] = tf.function(function).get_concrete_function(**inputs)

    def _add_example(self, signature: str, inputs: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        """An example, and the same without any row."""
        self.examples.append(Example(signature, inputs, expected))
        nothing = [{name: value[:0] for name, value in values.items()} for values in (inputs, expected)]
        self.examples.append(Example(signature, *nothing))

    # -- the signatures --------------------------------------------------------------------------------------------

    def _add_pixel_values(self) -> None:
        def pixel_values(pixel_values: Any) -> Any:
            return self._answer({"pixel_values": pixel_values})

        self._add("pixel_values", pixel_values, self._inputs)
        shape = [2, *self._inputs["pixel_values"].shape[1:]]
        pictures = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        self._add_example("pixel_values", {"pixel_values": pictures}, self._expected({"pixel_values": pictures}))

    def _add_pictures(self, pictures: PicturesInGraph) -> None:
        import tensorflow as tf

        def image_bytes(image_bytes: Any) -> Any:
            return self._answer({"pixel_values": pictures(image_bytes)})

        # TensorFlow Serving takes bytes in JSON where the name ends so.
        self._add("image_bytes", image_bytes, {"image_bytes": tf.TensorSpec([None], tf.string, name="image_bytes")})
        files = np.array([tf.io.encode_png(picture).numpy() for picture in examples()])
        self._add_example("image_bytes", {"image_bytes": files}, self._expected({"pixel_values": pictures(files)}))

    def _add_token_ids(self) -> None:
        import tensorflow as tf

        specs = {name: spec for name, spec in self._inputs.items() if name != "token_type_ids"}

        def token_ids(**inputs: Any) -> Any:
            if "token_type_ids" in self._inputs:
                inputs["token_type_ids"] = tf.zeros_like(inputs["input_ids"])
            return self._answer(inputs)

        def token_ids_and_types(**inputs: Any) -> Any:
            return self._answer(inputs)

        batch = self._example_ids()
        self._add("token_ids", token_ids, specs)
        without = {name: value for name, value in batch.items() if name in specs}
        zeros = {"token_type_ids": np.zeros_like(batch["input_ids"])} if "token_type_ids" in self._inputs else {}
        self._add_example("token_ids", without, self._expected({**without, **zeros}))
        if zeros:
            self._add("token_ids_and_types", token_ids_and_types, self._inputs)
            self._add_example("token_ids_and_types", batch, self._expected(batch))

    def _add_texts(self, texts: TextsInGraph) -> None:
        import tensorflow as tf

        def answer(encoded: Mapping[str, Any]) -> Any:
            answers = self._answer({name: encoded[name] for name in self._inputs})
            if self._outputs.of_tokens:  # Which the one who asks cannot know otherwise.
                answers |= {name: encoded[name] for name in ("input_ids", "attention_mask")}
            return answers

        def text(text: Any) -> Any:
            return answer(texts(text))

        def text_pairs(text: Any, text_pair: Any) -> Any:
            return answer(texts(text, text_pair))

        for function, names in ((text, ["text"]), (text_pairs, ["text", "text_pair"])):
            signature = function.__name__
            self._add(signature, function, {name: tf.TensorSpec([None], tf.string, name=name) for name in names})
            columns = [_TEXTS, _OTHERS][: len(names)]
            inputs = {name: np.array([t.encode() for t in c]) for name, c in zip(names, columns, strict=True)}
            self._add_example(signature, inputs, self._expected(self._encoded(*columns)))

    def _add_generation(self, continuation: Continuation) -> None:
        import tensorflow as tf

        def generate(input_ids: Any, attention_mask: Any) -> Any:
            number = tf.shape(input_ids)[0]
            missing = [[0, tf.maximum(1 - number, 0)], [0, 0]]
            ids, mask = (tf.pad(value, missing) for value in (input_ids, attention_mask))
            return {"output_ids": continuation(ids, mask)[:number]}

        names = ("input_ids", "attention_mask")
        specs = [tf.TensorSpec([None, None], tf.int32, name=name) for name in names]
        function = tf.function(generate, input_signature=specs)
        self.signatures["generate"] = function.get_concrete_function()
        batch = self._example_ids()
        inputs = {name: batch[name] for name in names}
        expected = continuation(*(tf.constant(value) for value in inputs.values())).numpy()
        self._add_example("generate", inputs, {"output_ids": expected})

        texts = self._texts
        if texts is None or not is_spelled(self._tokenizer):
            return
        spelling = Spelling(self._tokenizer)

        def generate_text(text: Any) -> Any:
            encoded = texts(text)
            ids = function(encoded["input_ids"], encoded["attention_mask"])["output_ids"]
            return {"text": spelling(ids), "output_ids": ids}

        self._add("generate_text", generate_text, {"text": tf.TensorSpec([None], tf.string, name="text")})
        encoded = self._encoded(_PROMPTS)
        ids = continuation(*(tf.constant(encoded[name]) for name in names)).numpy()
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        written = np.array([text.encode() for text in self._tokenizer.batch_decode(ids, **options)])
        inputs = {"text": np.array([text.encode() for text in _PROMPTS])}
        self._add_example("generate_text", inputs, {"text": written, "output_ids": ids})

    # -- examples --------------------------------------------------------------------------------------------------

    def _example_ids(self) -> dict[str, Any]:
        if self._texts is not None and len(self._inputs["input_ids"].shape) == 2:
            batch = self._encoded(_TEXTS, _OTHERS)
        else:
            random = np.random.default_rng(0)
            shape = [2] * (len(self._inputs["input_ids"].shape) - 1) + [8]
            ids = random.integers(0, self._model.config.vocab_size, shape, dtype=np.int32)
            batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids % 2}
        if self._takes_decoder:
            batch["decoder_input_ids"] = batch["input_ids"][:, :3]
        return {name: batch[name] for name in self._inputs}

    def _encoded(self, *texts: Sequence[str]) -> dict[str, Any]:
        """The model's inputs by the tokenizer itself."""
        limit = self._texts.max_length if self._texts is not None else None
        cut = {"truncation": True, "max_length": limit} if limit else {}
        batch = self._tokenizer(*texts, return_token_type_ids=True, **cut)
        is_left = self._tokenizer.padding_side == "left"
        fill = {"input_ids": self._tokenizer.pad_token_id or 0, "token_type_ids": self._tokenizer.pad_token_type_id}
        return {name: _padded(batch[name], fill.get(name, 0), is_left) for name in self._inputs if name in batch}


def _padded(rows: Sequence[Sequence[int]], value: int, is_left: bool) -> Any:
    """Rows of one length, of at least one; tokenizers without a token for padding do not make them."""
    width = max(1, *map(len, rows))
    missing = [[value] * (width - len(row)) for row in rows]
    pairs = zip(missing, rows, strict=True) if is_left else zip(rows, missing, strict=True)
    return np.array([[*left, *right] for left, right in pairs], np.int32)


def _inputs_of(model: Any) -> dict[str, Any]:
    """What the model is given, by name."""
    import tensorflow as tf

    accepted = inspect.signature(model.call).parameters
    if model.main_input_name == "pixel_values":
        config = model.config
        size = config.image_size
        sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
        return {"pixel_values": tf.TensorSpec([None, config.num_channels, *sides], tf.float32, name="pixel_values")}
    if model.main_input_name != "input_ids":
        raise SettingError(
            "model",
            type(model).__name__,
            expected="a TF model of transformers that takes input_ids or pixel_values",
            advice=f"Its main input is {model.main_input_name!r}.",
        )
    names = ["input_ids", "attention_mask"]
    if "token_type_ids" in accepted and (getattr(model.config, "type_vocab_size", 0) or 0) > 1:
        names.append("token_type_ids")
    if "decoder_input_ids" in accepted and model.config.is_encoder_decoder:
        names.append("decoder_input_ids")
    names = [name for name in names if name in accepted]
    shape = [None, None, None] if "ForMultipleChoice" in type(model).__name__ else [None, None]
    return {name: tf.TensorSpec(shape, tf.int32, name=name) for name in names}
