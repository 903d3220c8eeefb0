"""How long prompts and generated texts become."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from tf_hfwb.errors import DataError

_NARROWEST = 8
_DEFAULT_NEW_TOKENS = 20
_DEFAULT_MAX_LENGTH = 20  # What transformers fills in where nobody has set it.


class Lengths(NamedTuple):
    """The lengths of one call of ``generate``, in tokens.

    Attributes:
        width: Of the prompts, with their padding.
        total: Of the result, the prompt of a decoder-only model included.
        wanted: Of what is returned of it.
    """

    width: int
    total: int
    wanted: int


class LengthPlan:
    """Plans the lengths of what a model generates.

    A function is compiled for each combination of lengths, which takes seconds. So there are few: widths are rounded up
    to powers of two, numbers of new tokens to multiples of eight, where that does not change the result.

    Args:
        model: A TF model of transformers that can generate.
        config: Its generation config.
        max_length: The longest result: with the prompt for a decoder-only model.
        max_new_tokens: The same without the prompt, or start token.
    """

    def __init__(self, model: Any, config: Any, max_length: int | None, max_new_tokens: int | None) -> None:
        self._model = model
        self._config = config
        self._has_encoder = bool(model.config.is_encoder_decoder)
        self._total, self._new = length_limits(config, max_length, max_new_tokens, has_encoder=self._has_encoder)
        self._num_positions = num_positions(model, "max_target_positions", "max_decoder_position_embeddings")

    def exact(self, longest: int) -> Lengths:
        """The lengths for prompts of up to ``longest`` tokens, with no more padding than they have.

        Raises:
            DataError: The model has no position left for a new token.
        """
        if self._has_encoder:
            total = min(self._total or 0, self._num_positions)
            return Lengths(longest, total, total)
        num_wanted = self._num_wanted(longest)
        return Lengths(longest, longest + num_wanted, num_wanted)

    def rounded(self, longest: int) -> Lengths:
        """The lengths for prompts of up to ``longest`` tokens, rounded up so that there are few different ones.

        Raises:
            DataError: The model has no position left for a new token.
        """
        exact = self.exact(longest)
        if self._has_encoder:
            # An encoder without a table of positions takes any width.
            widest = num_positions(self._model, "max_encoder_position_embeddings")
            return exact._replace(width=max(longest, min(_round_up(longest), widest)))
        num_wanted = exact.wanted
        width = min(_round_up(longest), self._num_positions - num_wanted)
        num_new = num_wanted
        # Beams are chosen among whole sequences: more tokens than wanted could change the first of them.
        if self._new is None and self._config.num_beams == 1:
            num_multiple = -(-num_wanted // _NARROWEST) * _NARROWEST
            num_new = min(num_multiple, self._num_positions - width)
        return Lengths(width, width + num_new, num_wanted)

    def _num_wanted(self, longest: int) -> int:
        """The number of new tokens behind prompts of a decoder-only model."""
        if longest >= self._num_positions:
            raise DataError(
                f"A prompt of {longest} tokens was given to {type(self._model).__name__}, which has "
                f"{self._num_positions} positions. Expected a shorter one, with room for new tokens. Truncate when "
                "tokenising."
            )
        num_wanted = max(1, (self._total or 0) - longest) if self._new is None else self._new
        return min(num_wanted, self._num_positions - longest)


def length_limits(
    config: Any, max_length: int | None, max_new_tokens: int | None, *, has_encoder: bool
) -> tuple[int | None, int | None]:
    """The longest result with the prompt, and without it; one of them is None.

    Args:
        config: The generation config.
        max_length: The argument.
        max_new_tokens: The argument.
        has_encoder: Whether the model is an encoder-decoder, whose result has no prompt in it.
    """
    if max_length is None and max_new_tokens is None:
        max_new_tokens = config.max_new_tokens
        if max_new_tokens is None:
            is_set = config.max_length not in (None, _DEFAULT_MAX_LENGTH)
            if is_set or has_encoder:
                max_length = config.max_length or _DEFAULT_MAX_LENGTH
            else:
                max_new_tokens = _DEFAULT_NEW_TOKENS
    if has_encoder and max_length is None:
        return (max_new_tokens or 0) + 1, None  # The start token counts.
    return max_length, max_new_tokens


def num_positions(model: Any, *names: str) -> int:
    """The number of positions that the model has a table for; ``sys.maxsize`` without a table.

    Args:
        model: A model of transformers.
        names: The attributes of its configuration that may tell, before ``max_position_embeddings``.
    """
    config = model.config.get_text_config(decoder=True)
    for name in (*names, "max_position_embeddings"):
        if getattr(config, name, None) is not None:
            return int(getattr(config, name))
    return sys.maxsize


def _round_up(length: int) -> int:
    """The next power of two, 8 at least."""
    return max(_NARROWEST, 1 << max(0, length - 1).bit_length())
