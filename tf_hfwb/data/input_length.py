"""The length that a model's input may have."""

from __future__ import annotations

from typing import Any

_UNLIMITED = 10**9  # Tokenizers without a limit give a very large number.


def longest_input(model: Any, tokenizer: Any) -> int | None:
    """The most ids that a tokenizer and a model of transformers allow; None for no limit."""
    limits = [getattr(tokenizer, "model_max_length", None) or _UNLIMITED]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        # RoBERTa and models like it count positions from the padding token's id plus one.
        is_shifted = any("roberta" in cls.__module__ for cls in type(model).__mro__)
        limits.append(positions - (model.config.pad_token_id + 1 if is_shifted else 0))
    longest = min(limits)
    return None if longest >= _UNLIMITED else int(longest)
