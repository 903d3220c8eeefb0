"""Text from a model in the middle of its training: ``generate`` of transformers' TF models, compiled.

Eagerly, ``generate`` runs the model operation by operation for every token, some hundred times slower than when XLA has
compiled it. A compiled function is made for fixed shapes, and making one takes seconds; so prompts are padded to few
widths, and a smaller last batch to the size of the others.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.keras_compat import is_of_transformers

_logger = logging.getLogger("tf_hfwb")

Array = npt.NDArray[Any]

_JIT, _GRAPH, _EAGER = range(3)  # From the fastest way to run generate to the one that always works.
_WAYS = ("XLA", "tf.function", "eager execution")
_NARROWEST = 8
_NEW_TOKENS = 20
_DEFAULT_MAX_LENGTH = 20  # What transformers fills in where nobody has said anything.


class _Lengths(NamedTuple):
    """How far to go.

    Attributes:
        width: Of the prompts, with their padding.
        total: Of the result, the prompt of a decoder-only model included.
        wanted: Of what is handed out of it.
    """

    width: int
    total: int
    wanted: int


class Generator:
    """Generates token ids for batches of inputs, with the tokens that an eager ``generate`` would give.

    The model's weights are read when it is called, so it follows a training without being compiled again. Generating
    changes nothing in the model nor in any random generator: greedy and beam search draw nothing, and sampling draws
    from a seed and the prompts, so that the same weights continue a batch of prompts in the same way every time.

    For each combination of a width and a length that it meets, ``generate`` is compiled once. What XLA cannot compile
    runs as a ``tf.function``, and what that cannot run (``no_repeat_ngram_size``, for example) runs eagerly, with one
    warning. Under a distribution strategy the first replica generates for all.

    Limits: a model that ignores the attention mask (OpenAI GPT) gives other tokens to padded prompts, here as with
    transformers. The model's ``generation_config`` is taken as it is now.

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
        generate_options: Other options of transformers' ``GenerationConfig``, as ``do_sample=True, top_p=0.9``.

    Raises:
        SettingError: The model cannot generate, or an option is unknown or cannot be used here.

    Example:
        >>> # generator = Generator(model, max_new_tokens=40, num_beams=4)
        >>> # tokens = generator(tokenizer(texts, padding=True, return_tensors="np"))
        >>> # tokenizer.batch_decode(tokens, skip_special_tokens=True)
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
        lengths = {"max_length": max_length, "max_new_tokens": max_new_tokens}
        for name, value in {**lengths, "num_beams": num_beams}.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise SettingError(name, value, expected="a number, 1 or more, or None for the model's own")
        if max_length is not None and max_new_tokens is not None:
            raise SettingError("max_length", max_length, expected=f"None, because max_new_tokens={max_new_tokens}")
        self._model = model
        self._seed = seed
        self._config = configured(model, {**generate_options, "num_beams": num_beams, "pad_token_id": pad_token_id})
        self._total, self._new = bounds_of(self._config, max_length, max_new_tokens, is_whole=self._has_encoder)
        self._config.max_new_tokens = None
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
            DataError: A prompt leaves the model no position for a new token.
        """
        arrays = self._accepted(inputs)
        prompts = arrays[self._main_input]
        seed = [self._seed % 2**31, zlib.crc32(prompts.tobytes()) % 2**31]
        if "input_ids" in arrays:
            arrays = self._masked(arrays)
        return self._tokens(arrays, seed)[: len(prompts)]

    # -- what goes in ----------------------------------------------------------------------------------------------

    @property
    def _has_encoder(self) -> bool:
        return bool(self._model.config.is_encoder_decoder)

    @property
    def _main_input(self) -> str:
        return str(self._model.main_input_name)

    def _accepted(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """What the model takes and does not make itself: decoder inputs come of labels, positions of the mask."""
        taken = {
            name: np.asarray(value)
            for name, value in inputs.items()
            if name in inspect.signature(self._model.call).parameters
            and name not in ("labels", "position_ids")
            and not name.startswith("decoder_")
        }
        if self._main_input not in taken:
            raise DataError(
                f"The inputs {sorted(inputs)} hold no {self._main_input!r}, from which "
                f"{type(self._model).__name__} generates. Expected it among them. Check the columns of the data set."
            )
        return {name: _small(value) for name, value in taken.items()}

    def _masked(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """With a mask; for a decoder-only model the tokens stand at the right end, where generation goes on."""
        ids, pad, end = arrays["input_ids"], self._config.pad_token_id, self._config.eos_token_id
        mask = arrays.get("attention_mask")
        if mask is None:  # As transformers does: a token that also ends texts does not tell of padding.
            ends = end if isinstance(end, list) else [end]
            mask = np.ones_like(ids) if pad in ends else (ids != pad).astype(ids.dtype)
        arrays = {**arrays, "attention_mask": mask}
        if self._has_encoder:
            return arrays
        order = np.argsort(mask != 0, axis=1, kind="stable")
        empty = ids.shape[1] - max(1, int((mask != 0).sum(axis=1).max()))
        per_token = {name: value for name, value in arrays.items() if value.shape == ids.shape}
        return arrays | {n: np.take_along_axis(value, order, axis=1)[:, empty:] for n, value in per_token.items()}

    def _widened(self, arrays: dict[str, Array], width: int) -> dict[str, Array]:
        """With prompts of that width and as many rows as the largest batch so far."""
        self._batch_size = max(self._batch_size, len(arrays[self._main_input]))
        shape = arrays["input_ids"].shape if "input_ids" in arrays else None
        widened = {}
        for name, value in arrays.items():
            rows = np.concatenate([value, np.repeat(value[:1], self._batch_size - len(value), axis=0)])
            if value.shape == shape:
                more = [(0, 0), (0, width - shape[1]) if self._has_encoder else (width - shape[1], 0)]
                # By a token that is there already: a penalty for repetitions looks at the whole prompt.
                rows = np.pad(rows, more, mode="edge") if name == "input_ids" else np.pad(rows, more)
            widened[name] = rows
        return widened

    # -- how far ---------------------------------------------------------------------------------------------------

    def _lengths(self, longest: int, *, fixed: bool) -> _Lengths:
        """The lengths for prompts of up to ``longest`` tokens; with ``fixed`` they are some of few."""
        last = positions_of(self._model, "max_target_positions", "max_decoder_position_embeddings")
        if self._has_encoder:
            total = min(self._total or 0, last)
            # An encoder without a table of positions takes any width.
            widest = max(longest, min(_power(longest), positions_of(self._model, "max_encoder_position_embeddings")))
            return _Lengths(widest if fixed else longest, total, total)
        if longest >= last:
            raise DataError(
                f"A prompt of {longest} tokens was given to {type(self._model).__name__}, which has {last} positions. "
                "Expected a shorter one, with room for new tokens. Truncate when tokenising."
            )
        wanted = max(1, (self._total or 0) - longest) if self._new is None else self._new
        wanted = min(wanted, last - longest)
        if not fixed:
            return _Lengths(longest, longest + wanted, wanted)
        width = min(_power(longest), last - wanted)
        # Beams are chosen among whole sequences: more tokens than wanted could change the first of them.
        is_exact = self._new is not None or self._config.num_beams > 1
        made = wanted if is_exact else min(-(-wanted // _NARROWEST) * _NARROWEST, last - width)
        return _Lengths(width, width + made, wanted)

    # -- generation ------------------------------------------------------------------------------------------------

    def _tokens(self, arrays: dict[str, Array], seed: list[int]) -> Array:
        """What generate gives, without the prompt, in the fastest way that works."""
        longest = arrays["input_ids"].shape[1] if "input_ids" in arrays else 0
        failure: Exception | None = None
        for way in range(self._way, _EAGER):
            lengths = self._lengths(longest, fixed=True)
            try:
                tokens = self._run(way, self._widened(arrays, lengths.width), lengths, seed)
            except Exception as error:
                failure = failure or error
                continue
            self._settle_for(way, failure)
            return tokens
        tokens = self._run(_EAGER, arrays, self._lengths(longest, fixed=False), seed)
        self._settle_for(_EAGER, failure)
        return tokens

    def _settle_for(self, way: int, failure: Exception | None) -> None:
        """Go on in that way, as the faster ones have failed."""
        if failure is not None:
            _logger.warning(
                "generate() of %s cannot be compiled by %s with these options (%s). It runs by %s: that is slower.",
                type(self._model).__name__,
                _WAYS[self._way],
                str(failure).strip().rpartition("\n")[2].strip(),
                _WAYS[way],
            )
        self._way = way

    def _run(self, way: int, arrays: dict[str, Array], lengths: _Lengths, seed: list[int]) -> Array:
        import tensorflow as tf

        tensors = {name: tf.constant(value) for name, value in arrays.items()}
        seeds = tf.constant(seed, tf.int32)
        with without_false_alarms():
            if way == _EAGER:
                tokens = self._generate(tensors, seeds, lengths.total)
            else:
                tokens = self._compiled(way, tensors, seeds, lengths.total)(tensors, seeds)
        tokens = np.asarray(tokens) if self._has_encoder else np.asarray(tokens)[:, lengths.width :]
        # Generating may go on beyond what is wanted, and eagerly it stops when all sequences have ended.
        missing = max(0, lengths.wanted - tokens.shape[1])
        return np.pad(tokens[:, : lengths.wanted], [(0, 0), (0, missing)], constant_values=self.pad_token_id)

    def _compiled(self, way: int, tensors: Mapping[str, Any], seeds: Any, total: int) -> Callable[..., Any]:
        """The function for these shapes."""
        import tensorflow as tf

        key = way, total, *((name, tuple(tensor.shape)) for name, tensor in sorted(tensors.items()))
        if key not in self._functions:

            def generate(tensors: Any, seeds: Any) -> Any:
                return self._generate(tensors, seeds, total)

            # Traced here, as TensorFlow warns of functions that trace themselves again and again.
            function = tf.function(generate, jit_compile=way == _JIT)
            self._functions[key] = function.get_concrete_function(tensors, seeds)
        return self._functions[key]

    def _generate(self, tensors: Mapping[str, Any], seeds: Any, total: int) -> Any:
        sampling = {"seed": seeds} if self._config.do_sample else {}
        return self._model.generate(generation_config=self._config, max_length=total, **sampling, **tensors)


@contextlib.contextmanager
def without_false_alarms() -> Iterator[None]:
    """Without transformers' warning of padding on the right, which it gives whenever generate is traced."""
    logger = logging.getLogger("transformers.generation.tf_utils")

    def is_true(record: logging.LogRecord) -> bool:
        return "right-padding was detected" not in record.getMessage()

    logger.addFilter(is_true)
    try:
        yield
    finally:
        logger.removeFilter(is_true)


def _small(value: Array) -> Array:
    """Integers as int32, so that their type makes no difference."""
    return value.astype(np.int32) if value.dtype.kind in "biu" else value


def _power(length: int) -> int:
    """The next power of two, so that there are few widths."""
    return max(_NARROWEST, 1 << max(0, length - 1).bit_length())


def positions_of(model: Any, *names: str) -> int:
    """The positions that the model has a table for."""
    config = model.config.get_text_config(decoder=True)
    for name in (*names, "max_position_embeddings"):
        if getattr(config, name, None) is not None:
            return int(getattr(config, name))
    return sys.maxsize


def load_generation_config(source: str) -> Any:
    """A generation config from a directory, a file or a model's name on the hub.

    Raises:
        SettingError: It cannot be loaded from there.
    """
    from transformers import GenerationConfig

    try:
        if os.path.isfile(source):
            return GenerationConfig.from_pretrained(*os.path.split(os.path.abspath(source)))
        return GenerationConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SettingError(
            "generation_config",
            source,
            expected="a directory with generation_config.json, such a file, or a model's name on the hub",
            advice=f"({reason})",
        ) from error


def _can_generate(model: Any) -> bool:
    """Whether it is a TF model of transformers with a language modelling head."""
    return is_of_transformers(model) and bool(model.can_generate())


def configured(model: Any, options: Mapping[str, Any]) -> Any:
    """The model's generation config with the options in it, and a pad token."""
    config = copy.deepcopy(model.generation_config)
    unknown = config.update(**{name: value for name, value in options.items() if value is not None})
    for name, value in unknown.items():
        raise SettingError(name, value, expected="an option of transformers' GenerationConfig", advice="Leave it out.")
    if config.num_return_sequences != 1:
        raise SettingError("num_return_sequences", config.num_return_sequences, expected="1: one text for each sample")
    if config.do_sample and config.num_beams > 1:
        raise SettingError(
            "num_beams",
            config.num_beams,
            expected="1, with do_sample=True: beams in transformers' TF code draw from TensorFlow's global generator, "
            "which would change the training",
            advice="Sample without beams, or search without sampling.",
        )
    if config.pad_token_id is None:
        end = config.eos_token_id
        config.pad_token_id = (end[0] if isinstance(end, list) else end) or 0
    if model.config.is_encoder_decoder and config.decoder_start_token_id is None and config.bos_token_id is None:
        raise SettingError(
            "decoder_start_token_id",
            None,
            expected="the token that the decoder starts with, in the model's generation config",
            advice="Pass decoder_start_token_id=..., which is the pad token for T5.",
        )
    config.return_dict_in_generate = False
    return config


def bounds_of(
    config: Any, max_length: int | None, max_new_tokens: int | None, *, is_whole: bool
) -> tuple[int | None, int | None]:
    """The longest result with, and without the prompt; one of them is None.

    Args:
        config: The generation config.
        max_length: The argument.
        max_new_tokens: The argument.
        is_whole: The result has no prompt in it, as that of an encoder-decoder.
    """
    if max_length is None:
        if max_new_tokens is None:
            max_new_tokens = config.max_new_tokens
        is_told = config.max_length not in (None, _DEFAULT_MAX_LENGTH)
        if max_new_tokens is None and (is_told or is_whole):
            max_length = config.max_length or _DEFAULT_MAX_LENGTH
        elif max_new_tokens is None:
            max_new_tokens = _NEW_TOKENS
    if is_whole and max_length is None:
        return (max_new_tokens or 0) + 1, None
    return max_length, max_new_tokens
