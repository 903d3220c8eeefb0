"""``Generator``: text from a model in the middle of its training, by ``generate`` of transformers, compiled.

Eagerly, ``generate`` runs the model operation by operation for every token, some hundred times slower than compiled by
XLA. A compiled function is made for fixed shapes, and making one takes seconds. So prompts are padded to few widths,
and a smaller last batch to the size of the others.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.generation_lengths import LengthPlan, Lengths
from tf_hfwb.evaluation.generation_options import generation_config_of
from tf_hfwb.evaluation.prompts import Array, add_mask, align_right, pad_batch, select_inputs
from tf_hfwb.keras_compat import is_of_transformers
from tf_hfwb.validation.argument_checks import check_whole_number

_logger = logging.getLogger("tf_hfwb")

_JIT, _GRAPH, _EAGER = range(3)  # From the fastest way to run generate to the one that always works.
_WAYS = ("XLA", "tf.function", "eager execution")


class Generator:
    """Generates token ids for batches of inputs: the same as an eager ``generate``, about a hundred times faster.

    It reads the model's weights when it is called, so it follows a training without being compiled again. Generating
    changes nothing in the model nor in any random generator: greedy and beam search draw nothing, and sampling draws
    from a seed and the prompts, so that the same weights continue a batch of prompts in the same way every time.

    ``generate`` is compiled once for each combination of width and length. What XLA cannot compile runs as a
    ``tf.function``, and what that cannot run (``no_repeat_ngram_size``, for example) runs eagerly, with one warning.
    Under a distribution strategy the first replica generates for all.

    Limits: a model that ignores the attention mask (OpenAI GPT) gives other tokens to padded prompts, here as with
    transformers. The model's ``generation_config`` is copied when the generator is made.

    Args:
        model: A TF model of transformers that can generate.
        max_length: The longest result: with the prompt for a decoder-only model, with the start token for an
            encoder-decoder. Else ``max_new_tokens``, else what the model's generation config says, else 20 new tokens.
            The model's own last position is never passed.
        max_new_tokens: The same without prompt and start token.
        num_beams: For beam search; what the generation config says when None.
        pad_token_id: What follows a sequence that has ended; that of the generation config, else its end token, when
            None.
        seed: For sampling.
        generate_options: Other options of transformers' ``GenerationConfig``, such as ``do_sample=True, top_p=0.9``.

    Attributes:
        lengths: How long prompts and results become.

    Raises:
        SettingError: The model cannot generate, or an option is unknown or cannot be used here.

    Example:
        >>> from transformers import GPT2Config, TFGPT2LMHeadModel
        >>> config = GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
        >>> model = TFGPT2LMHeadModel(config)
        >>> generator = Generator(model, max_new_tokens=3)
        >>> tokens = generator({"input_ids": [[5, 6], [7, 8]], "attention_mask": [[1, 1], [1, 1]]})
        >>> tokens.shape
        (2, 3)
    """

    def __init__(
        self,
        model: Any,
        *,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        num_beams: int | None = None,
        pad_token_id: int | None = None,
        seed: int = 0,
        **generate_options: Any,
    ) -> None:
        if not _can_generate(model):
            raise SettingError(
                "model",
                type(model).__name__,
                expected="a TF model of transformers that can generate, such as TFT5ForConditionalGeneration or "
                "TFGPT2LMHeadModel",
                advice="Without generation, predictions are the model's outputs.",
            )
        max_length = _optional_number("max_length", max_length)
        max_new_tokens = _optional_number("max_new_tokens", max_new_tokens)
        num_beams = _optional_number("num_beams", num_beams)
        if max_length is not None and max_new_tokens is not None:
            raise SettingError("max_length", max_length, expected=f"None, because max_new_tokens={max_new_tokens}")
        self._model = model
        self._has_encoder = bool(model.config.is_encoder_decoder)
        self._seed = seed
        options = {**generate_options, "num_beams": num_beams, "pad_token_id": pad_token_id}
        self._config = generation_config_of(model, options)
        self.lengths = LengthPlan(model, self._config, max_length, max_new_tokens)
        self._config.max_new_tokens = None  # Each call says how long its result may be.
        self._way = _JIT if getattr(model, "supports_xla_generation", True) else _EAGER
        self._functions: dict[Any, Callable[..., Any]] = {}
        self._batch_size = 1

    @property
    def pad_token_id(self) -> int:
        """What the results are padded with."""
        return int(self._config.pad_token_id)

    def __call__(self, inputs: Mapping[str, Any]) -> Array:
        """Generate for one batch.

        Args:
            inputs: Arrays or tensors [batch, ...] by name: ``input_ids`` [batch, width] and ``attention_mask``,
                padded on either side, or what else the model takes. Labels and inputs of the decoder are left out.

        Returns:
            Token ids [batch, length]: the new tokens of a decoder-only model; for an encoder-decoder the start token
            and what follows. Sequences that end earlier are padded with :attr:`pad_token_id`.

        Raises:
            DataError: The model's main input is missing, or a prompt leaves the model no position for a new token.
        """
        arrays = select_inputs(self._model, inputs)
        prompts = arrays[self._model.main_input_name]
        seed = [self._seed % 2**31, zlib.crc32(prompts.tobytes()) % 2**31]
        if "input_ids" in arrays:
            arrays = add_mask(arrays, self._config)
            if not self._has_encoder:
                arrays = align_right(arrays)
        self._batch_size = max(self._batch_size, len(prompts))
        return self._generate_fastest(arrays, seed)[: len(prompts)]

    def with_prompts(self, inputs: Mapping[str, Any]) -> Array:
        """As a call, with the prompts in front of the new tokens of a decoder-only model, as they are in the batch.

        That is what ``generate`` of transformers gives, and with it ``Seq2SeqTrainer``.

        Args:
            inputs: As of a call.
        """
        tokens = self(inputs)
        if self._has_encoder or "input_ids" not in inputs:
            return tokens
        return np.concatenate([np.asarray(inputs["input_ids"]).astype(tokens.dtype), tokens], axis=1)

    def _generate_fastest(self, arrays: Mapping[str, Array], seed: list[int]) -> Array:
        """The new tokens, by the fastest way that works."""
        longest = arrays["input_ids"].shape[1] if "input_ids" in arrays else 0
        failure: Exception | None = None
        for way in range(self._way, _EAGER):
            lengths = self.lengths.rounded(longest)
            try:
                padded = pad_batch(arrays, lengths.width, self._batch_size, on_left=not self._has_encoder)
                tokens = self._generate(way, padded, lengths, seed)
            except Exception as error:
                failure = failure or error
                continue
            self._settle_for(way, failure)
            return tokens
        tokens = self._generate(_EAGER, arrays, self.lengths.exact(longest), seed)
        self._settle_for(_EAGER, failure)
        return tokens

    def _settle_for(self, way: int, failure: Exception | None) -> None:
        """Stay with that way from now on, and warn if a faster one has failed."""
        if failure is not None:
            _logger.warning(
                "generate() of %s cannot be compiled by %s with these options (%s). It runs by %s: that is slower.",
                type(self._model).__name__,
                _WAYS[self._way],
                str(failure).strip().rpartition("\n")[2].strip(),
                _WAYS[way],
            )
        self._way = way

    def _generate(self, way: int, arrays: Mapping[str, Array], lengths: Lengths, seed: list[int]) -> Array:
        """The new tokens, with exactly the wanted length."""
        import tensorflow as tf

        tensors = {name: tf.constant(value) for name, value in arrays.items()}
        seeds = tf.constant(seed, tf.int32)
        with without_padding_warning():
            if way == _EAGER:
                result = self._call_generate(tensors, seeds, lengths.total)
            else:
                result = self._compiled_function(way, tensors, seeds, lengths.total)(tensors, seeds)
        tokens = np.asarray(result)
        if not self._has_encoder:
            tokens = tokens[:, lengths.width :]
        tokens = tokens[:, : lengths.wanted]
        # Eagerly, generate stops when all sequences have ended.
        num_missing = lengths.wanted - tokens.shape[1]
        return np.pad(tokens, [(0, 0), (0, num_missing)], constant_values=self.pad_token_id)

    def _compiled_function(
        self, way: int, tensors: Mapping[str, Any], seeds: Any, total: int
    ) -> Callable[[Mapping[str, Any], Any], Any]:
        """The function that was compiled for these shapes."""
        import tensorflow as tf

        key = way, total, *((name, tuple(tensor.shape)) for name, tensor in sorted(tensors.items()))
        if key not in self._functions:

            def generate(tensors: Any, seeds: Any) -> Any:
                return self._call_generate(tensors, seeds, total)

            # Traced here, as TensorFlow warns of functions that trace themselves again and again.
            function = tf.function(generate, jit_compile=way == _JIT)
            self._functions[key] = function.get_concrete_function(tensors, seeds)
        return self._functions[key]

    def _call_generate(self, tensors: Mapping[str, Any], seeds: Any, total: int) -> Any:
        sampling = {"seed": seeds} if self._config.do_sample else {}
        return self._model.generate(generation_config=self._config, max_length=total, **sampling, **tensors)


def _optional_number(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    return check_whole_number(name, value, expected="a number, 1 or more, or None for the model's own")


def _can_generate(model: Any) -> bool:
    """Whether it is a TF model of transformers with a language modelling head."""
    return is_of_transformers(model) and bool(model.can_generate())


@contextlib.contextmanager
def without_padding_warning() -> Iterator[None]:
    """Suppress transformers' warning of padding on the right, which it gives whenever generate is traced."""
    logger = logging.getLogger("transformers.generation.tf_utils")

    def is_other(record: logging.LogRecord) -> bool:
        return "right-padding was detected" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
