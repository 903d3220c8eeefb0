"""Token ids as texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


class Decoder:
    """Turns token ids back into readable text: without padding and special tokens.

    Args:
        processing_class: A tokenizer, a processor that holds one, or None: then the numbers are shown.
    """

    def __init__(self, processing_class: Any) -> None:
        if not hasattr(processing_class, "decode"):
            processing_class = getattr(processing_class, "tokenizer", None)
        self.tokenizer = processing_class
        self._special = special_ids(processing_class)

    def text(self, ids: Iterable[int], *, keep: int | None = None) -> str:
        """The text of ids; special tokens are left out, except ``keep``."""
        ids = [int(one) for one in ids]
        if self.tokenizer is None:
            return " ".join(map(str, ids))
        known = len(self.tokenizer)
        plain = [one for one in ids if 0 <= one < known and (one == keep or one not in self._special)]
        return str(self.tokenizer.decode(plain)).strip()

    def is_special(self, one: int) -> bool:
        """Whether an id is that of a special token."""
        return int(one) in self._special

    def texts(self, inputs: Mapping[str, np.ndarray], row: int) -> list[str]:
        """The texts of one sample: one, or two for a pair.

        Args:
            inputs: The batch: ``input_ids``, and ``attention_mask`` and ``token_type_ids`` if there are.
            row: Which sample.
        """
        return [self.text(part) for part in self._parts(inputs, row)]

    def _parts(self, inputs: Mapping[str, np.ndarray], row: int) -> list[Sequence[int]]:
        there = mask_of(inputs)[row].astype(bool)
        ids = inputs["input_ids"][row][there]
        if "token_type_ids" in inputs:
            kinds = inputs["token_type_ids"][row][there]
            return [ids[kinds == 0], ids[kinds == 1]] if kinds.any() else [ids]
        end = getattr(self.tokenizer, "sep_token_id", None)
        inner = [] if end is None else [place for place in np.flatnonzero(ids == end) if place < len(ids) - 1]
        return [ids[: inner[0]], ids[inner[0] + 1 :]] if inner else [ids]


def special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of tokens without text of their own. The unknown token is one, unless its id has another meaning, too."""
    special = frozenset(getattr(tokenizer, "all_special_ids", ()))
    unknown = getattr(tokenizer, "unk_token_id", None)
    others = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "cls", "sep", "mask")]
    return special if unknown in others else special - {unknown}


def mask_of(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """1 where a token is, 0 where padding is: [batch, width]."""
    mask = inputs.get("attention_mask")
    return np.ones_like(inputs["input_ids"]) if mask is None else mask
