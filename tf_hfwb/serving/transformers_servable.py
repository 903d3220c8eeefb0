"""The signatures of a SavedModel for a TF model of transformers, and examples of their answers."""

from __future__ import annotations

import contextlib
import inspect
import logging
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import call_arguments, to_float32
from tf_hfwb.serving.detokenizer import Detokenizer, can_detokenize
from tf_hfwb.serving.example_requests import OTHER_TEXTS, PROMPTS, TEXTS, ExampleRequests
from tf_hfwb.serving.export_check import TOLERANCE, Example
from tf_hfwb.serving.generation_signature import GraphGenerator
from tf_hfwb.serving.images_in_graph import PicturesInGraph, examples, sides_of
from tf_hfwb.serving.served_outputs import Outputs
from tf_hfwb.serving.tokenizers.texts_in_graph import TextsInGraph

_logger = logging.getLogger("tf_hfwb")

# The first of these that a model has is the default signature, too.
_DEFAULTS = ("generate_text", "text", "image_bytes", "token_ids", "pixel_values")
_SIDE = 64  # Of example pictures for models that take any size.


class Servable:
    """The signatures of a model, saved with a ``tf.Module`` that holds its weights and tables only.

    With the model itself in that module, TensorFlow would trace each layer again, and take three times as long.

    Args:
        model: A TF model of transformers, built.
        processing: The tokenizer or the image processor in the graph; None to have no signature that takes texts, or
            pictures.
        tokenizer: The tokenizer itself, for the examples.
        max_new_tokens: See :class:`~tf_hfwb.serving.generation_signature.GraphGenerator`; 0 for no signature that
            generates.

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

        self._model = to_float32(model)
        self._texts = texts = processing if isinstance(processing, TextsInGraph) else None
        self._tokenizer = tokenizer
        self._outputs = Outputs(self._model)
        self._inputs = _input_specs(self._model, processing.sides if isinstance(processing, PicturesInGraph) else None)
        self._requests = ExampleRequests(self._model, self._inputs, texts, tokenizer)
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
                self._add_generation(GraphGenerator(self._model, max_new_tokens))
        default = next(name for name in _DEFAULTS if name in self.signatures)
        self.signatures["serving_default"] = self.signatures[default]

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
            # Models cannot reshape an empty batch. They get a row of zeros instead, whose answers are dropped.
            shape = tf.shape(value)
            missing = tf.concat([tf.maximum(1 - shape[:1], 0), tf.maximum(shape[1:], 1)], 0)
            widened = tf.cond(number > 0, lambda v=value: v, lambda m=missing, v=value: tf.zeros(m, v.dtype))
            filled[name] = tf.ensure_shape(widened, value.shape)
        answers = self._outputs(self._run(filled))
        return {name: value[:number] for name, value in answers.items()}

    def _run(self, inputs: Mapping[str, Any]) -> Any:
        # A subclass may have a call of its own, without this argument.
        options = {"return_dict": True} if "return_dict" in call_arguments(self._model) else {}
        return self._model(inputs, training=False, **options)

    def _python_answers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The answers of the Python model, computed eagerly."""
        import tensorflow as tf

        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        answers = self._outputs(self._run(tensors))
        return {name: value.numpy() for name, value in answers.items()}

    def _add(self, name: str, function: Callable[..., Any], inputs: Mapping[str, Any]) -> None:
        import tensorflow as tf

        self.signatures[name] = tf.function(function).get_concrete_function(**inputs)

    def _add_example(self, signature: str, inputs: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        """Add an example, and the same without any row."""
        self.examples.append(Example(signature, inputs, expected))
        nothing = [{name: value[:0] for name, value in values.items()} for values in (inputs, expected)]
        self.examples.append(Example(signature, *nothing))

    # -- the signatures --------------------------------------------------------------------------------------------

    def _add_pixel_values(self) -> None:
        def pixel_values(pixel_values: Any) -> Any:
            return self._answer({"pixel_values": pixel_values})

        self._add("pixel_values", pixel_values, self._inputs)
        shape = [2, *(side or _SIDE for side in self._inputs["pixel_values"].shape[1:])]
        pictures = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        self._add_example("pixel_values", {"pixel_values": pictures}, self._python_answers({"pixel_values": pictures}))

    def _add_pictures(self, pictures: PicturesInGraph) -> None:
        import tensorflow as tf

        def image_bytes(image_bytes: Any) -> Any:
            return self._answer({"pixel_values": pictures(image_bytes)})

        # In JSON, TensorFlow Serving decodes base64 for inputs whose names end in _bytes.
        self._add("image_bytes", image_bytes, {"image_bytes": tf.TensorSpec([None], tf.string, name="image_bytes")})
        files = np.array([tf.io.encode_png(picture).numpy() for picture in examples()])
        self._add_example(
            "image_bytes", {"image_bytes": files}, self._python_answers({"pixel_values": pictures(files)})
        )

    def _add_token_ids(self) -> None:
        import tensorflow as tf

        specs = {name: spec for name, spec in self._inputs.items() if name != "token_type_ids"}

        def token_ids(**inputs: Any) -> Any:
            if "token_type_ids" in self._inputs:
                inputs["token_type_ids"] = tf.zeros_like(inputs["input_ids"])
            return self._answer(inputs)

        def token_ids_and_types(**inputs: Any) -> Any:
            return self._answer(inputs)

        batch = self._requests.token_ids()
        self._add("token_ids", token_ids, specs)
        without = {name: value for name, value in batch.items() if name in specs}
        zeros = {"token_type_ids": np.zeros_like(batch["input_ids"])} if "token_type_ids" in self._inputs else {}
        self._add_example("token_ids", without, self._python_answers({**without, **zeros}))
        if zeros:
            self._add("token_ids_and_types", token_ids_and_types, self._inputs)
            self._add_example("token_ids_and_types", batch, self._python_answers(batch))

    def _add_texts(self, texts: TextsInGraph) -> None:
        import tensorflow as tf

        def answer(encoded: Mapping[str, Any]) -> Any:
            answers = self._answer({name: encoded[name] for name in self._inputs})
            if self._outputs.of_tokens:  # The caller needs the tokens that the answers are about.
                answers |= {name: encoded[name] for name in ("input_ids", "attention_mask")}
            return answers

        def text(text: Any) -> Any:
            return answer(texts(text))

        def text_pairs(text: Any, text_pair: Any) -> Any:
            return answer(texts(text, text_pair))

        for function, names in ((text, ["text"]), (text_pairs, ["text", "text_pair"])):
            signature = function.__name__
            self._add(signature, function, {name: tf.TensorSpec([None], tf.string, name=name) for name in names})
            columns = [TEXTS, OTHER_TEXTS][: len(names)]
            inputs = {name: np.array([t.encode() for t in c]) for name, c in zip(names, columns, strict=True)}
            self._add_example(signature, inputs, self._python_answers(self._requests.encode(*columns)))
        if not self._outputs.of_tokens:
            self._warn_of_padding_effects()

    def _warn_of_padding_effects(self) -> None:
        """Warn if a text has another answer when it comes alone."""
        together = self._python_answers(self._requests.encode(TEXTS))
        alone = [self._python_answers(self._requests.encode([text])) for text in TEXTS]
        for name, values in together.items():
            if values.dtype.kind != "f":
                continue
            each = np.concatenate([answers[name] for answers in alone])
            difference = float(np.max(np.abs(each - values) / np.maximum(1.0, np.abs(values))))
            if difference > TOLERANCE:
                _logger.warning(
                    "What %s answers to a text depends on the texts beside it, in the SavedModel as in Python: %r of a "
                    "text alone differs by up to %.1e. It takes notice of padding.",
                    type(self._model).__name__,
                    name,
                    difference,
                )
                return

    def _add_generation(self, generator: GraphGenerator) -> None:
        import tensorflow as tf

        def generate(input_ids: Any, attention_mask: Any) -> Any:
            number, width = tf.unstack(tf.shape(input_ids))
            missing = [[0, tf.maximum(1 - number, 0)], [0, tf.maximum(1 - width, 0)]]
            ids, mask = (tf.pad(value, missing) for value in (input_ids, attention_mask))
            return {"output_ids": generator(ids, mask)[:number]}

        names = ("input_ids", "attention_mask")
        specs = [tf.TensorSpec([None, None], tf.int32, name=name) for name in names]
        batch = self._requests.token_ids()
        inputs = {name: batch[name] for name in names}
        expected, function = self._trace_generation(generator, generate, specs, list(inputs.values()))
        if function is None:
            return
        self.signatures["generate"] = function.get_concrete_function()
        self._add_example("generate", inputs, {"output_ids": expected})

        texts = self._texts
        if texts is None or not can_detokenize(self._tokenizer):
            return
        detokenizer = Detokenizer(self._tokenizer)
        has_encoder = self._takes_decoder

        def generate_text(text: Any) -> Any:
            encoded = texts(text) if has_encoder else texts.prompts(text, generator.longest_prompt)
            ids = function(encoded["input_ids"], encoded["attention_mask"])["output_ids"]
            return {"text": detokenizer(ids), "output_ids": ids}

        self._add("generate_text", generate_text, {"text": tf.TensorSpec([None], tf.string, name="text")})
        encoded = self._requests.encode(PROMPTS, side="right" if has_encoder else "left")
        ids = generator(*(tf.constant(encoded[name]) for name in names)).numpy()
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        written = np.array([text.encode() for text in self._tokenizer.batch_decode(ids, **options)])
        inputs = {"text": np.array([text.encode() for text in PROMPTS])}
        self._add_example("generate_text", inputs, {"text": written, "output_ids": ids})

    def _trace_generation(
        self, generator: GraphGenerator, generate: Callable[..., Any], specs: Sequence[Any], inputs: Sequence[Any]
    ) -> tuple[Any, Any]:
        """What is generated eagerly, and ``generate`` as a graph; both None, with a warning, if it is impossible."""
        import tensorflow as tf

        failure: Exception | None = None
        expected = None
        try:
            expected = generator(*(tf.constant(value) for value in inputs)).numpy()
        except Exception as error:
            failure = error
        for by_rows in (False, True) if failure is None else ():
            generator.by_rows = by_rows
            function = tf.function(generate, input_signature=specs)
            try:
                function.get_concrete_function()
                return expected, function
            except Exception as error:
                failure = failure or error
        lines = [line.strip() for line in str(failure).splitlines() if line.strip()]  # The last one has the error.
        options = generator.options
        _logger.warning(
            "generate() of %s cannot be in the graph (%s: %s), so the SavedModel does not generate. %s",
            type(self._model).__name__,
            type(failure).__name__,
            lines[-1].removeprefix(f"{type(failure).__name__}: ") if lines else "",
            f"Its generation config has {options}: leave that out, or pass max_new_tokens=0."
            if options
            else "Pass max_new_tokens=0 to leave it out from the start.",
        )
        return None, None


def _input_specs(model: Any, sides: tuple[int, int] | None = None) -> dict[str, Any]:
    """The specifications of the model's inputs, by name.

    Args:
        model: The model.
        sides: The height and the width of its pictures, if its configuration does not say.
    """
    import tensorflow as tf

    accepted = inspect.signature(model.call).parameters
    if model.main_input_name == "pixel_values":
        shape = [None, model.config.num_channels, *(sides_of(model) or sides or (None, None))]
        return {"pixel_values": tf.TensorSpec(shape, tf.float32, name="pixel_values")}
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
