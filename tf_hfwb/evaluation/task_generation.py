"""``TaskGenerator``: texts from a task of KerasHub in the middle of its training, by the task's own ``generate``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.text_generation import Generator
from tf_hfwb.keras_compat.hub_tasks import generates_text, is_sequence_to_sequence
from tf_hfwb.validation.argument_checks import check_whole_number

_SHAPE_STEP = 16  # A function is compiled for each length, so that lengths are rounded up.


def generator_for(model: Any, **options: Any) -> Generator | TaskGenerator:
    """What generates with a model.

    Args:
        model: A TF model of transformers that can generate, or such a task of KerasHub with its preprocessor.
        **options: As :class:`~tf_hfwb.evaluation.text_generation.Generator` takes them; a task takes lengths alone.

    Raises:
        SettingError: The model cannot generate, or an option is unknown or cannot be used here.
    """
    return TaskGenerator(model, **options) if generates_text(model) else Generator(model, **options)


class TaskGenerator:
    """Generates texts for batches of texts, with the sampler that the task was compiled with.

    It draws from the sampler's own seed, which is put back afterwards: the same weights continue the same batch of
    prompts in the same way every time, and a training is left as it was.

    Args:
        model: A ``CausalLM`` or ``Seq2SeqLM`` of KerasHub with its preprocessor.
        max_length: The most tokens of a text, with the prompt; the preprocessor's ``sequence_length`` when None.
        max_new_tokens: The same without the prompt.
        **options: Others are refused: the sampler decides.

    Raises:
        SettingError: An option cannot be used.

    Follows ``generate`` of KerasHub, with ``strip_prompt=True`` for a ``CausalLM``.
    """

    def __init__(
        self, model: Any, *, max_length: int | None = None, max_new_tokens: int | None = None, **options: Any
    ) -> None:
        for name, value in options.items():
            if value is not None:
                raise SettingError(
                    name,
                    value,
                    expected=f"None for {type(model).__name__}, whose sampler decides how it generates",
                    advice='Compile it with another one: model.compile(sampler="beam").',
                )
        if max_length is not None and max_new_tokens is not None:
            raise SettingError("max_length", max_length, expected=f"None, because max_new_tokens={max_new_tokens}")
        self._model = model
        self._has_encoder = is_sequence_to_sequence(model)
        self._max_length = _optional_number("max_length", max_length)
        self._max_new_tokens = _optional_number("max_new_tokens", max_new_tokens)
        self._batch_size = 1

    def __call__(self, inputs: Any) -> npt.NDArray[np.str_]:
        """Generate for one batch.

        Args:
            inputs: Texts [batch], as strings or bytes; or, of a ``Seq2SeqLM``, a mapping with ``encoder_text``.

        Returns:
            What follows each text, without it [batch].
        """
        prompts = texts_of(inputs["encoder_text"] if isinstance(inputs, Mapping) else inputs)
        number = len(prompts)
        self._batch_size = max(self._batch_size, number)
        prompts += prompts[:1] * (self._batch_size - number)  # Of one size, as each is compiled for.
        more = {} if self._has_encoder else {"strip_prompt": True}
        with _kept_seed(self._model.sampler):
            generated = self._model.generate(prompts, max_length=self._length(prompts), **more)
        return np.array(texts_of(generated)[:number], np.str_)

    def _length(self, prompts: list[str]) -> int | None:
        if self._max_new_tokens is None:
            return self._max_length
        if self._has_encoder:
            return self._max_new_tokens + 1  # With the start token.
        preprocessor = self._model.preprocessor
        mask = np.asarray(preprocessor.generate_preprocess(prompts)["padding_mask"])
        length = int(mask.sum(axis=-1).max()) + self._max_new_tokens
        return min(-(-length // _SHAPE_STEP) * _SHAPE_STEP, preprocessor.sequence_length)


def texts_of(values: Any) -> list[str]:
    """Strings, bytes, or an array or tensor of them, as strings."""
    return [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in np.asarray(values).tolist()]


@contextlib.contextmanager
def _kept_seed(sampler: Any) -> Iterator[None]:
    values = [np.array(variable) for variable in sampler.variables]
    try:
        yield
    finally:
        for variable, value in zip(sampler.variables, values, strict=True):
            variable.assign(value)


def _optional_number(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    return check_whole_number(name, value, expected="a number, 1 or more, or None for the preprocessor's own")
