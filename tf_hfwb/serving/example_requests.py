"""Requests that a servable model of transformers must answer as the Python model does: texts, and token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.serving.tokenizers.texts_in_graph import TextsInGraph

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Déjà vu 😀 in 2024?",
    "",
    "It's the end of the very long day",
]
OTHER_TEXTS = [*TEXTS[1:], TEXTS[0]]
PROMPTS = ["The quick brown fox", "In 2024,"]


class ExampleRequests:
    """Makes a model's inputs by the tokenizer itself, outside of the graph.

    Args:
        model: A TF model of transformers.
        specs: The specifications of the model's inputs, by name.
        texts: The tokenizer in the graph; None without one.
        tokenizer: The tokenizer itself.
    """

    def __init__(self, model: Any, specs: Mapping[str, Any], texts: TextsInGraph | None, tokenizer: Any) -> None:
        self._model = model
        self._specs = specs
        self._texts = texts
        self._tokenizer = tokenizer

    def token_ids(self) -> dict[str, Any]:
        """Inputs that begin with token ids: of texts where there is a tokenizer, else random ones."""
        num_axes = len(self._specs["input_ids"].shape)
        if self._texts is not None and num_axes == 2:
            batch = self.encode(TEXTS, OTHER_TEXTS)
        else:
            random = np.random.default_rng(0)
            shape = [2] * (num_axes - 1) + [8]
            ids = random.integers(0, self._model.config.vocab_size, shape, dtype=np.int32)
            batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids % 2}
        if "decoder_input_ids" in self._specs:
            batch["decoder_input_ids"] = batch["input_ids"][:, :3]
        return {name: batch[name] for name in self._specs}

    def encode(self, *texts: Sequence[str], side: str = "right") -> dict[str, Any]:
        """The inputs of texts, or of pairs of texts.

        Args:
            texts: One or two lists of texts.
            side: On which side a text that is too long is cut.
        """
        in_graph, tokenizer = self._texts, self._tokenizer
        cut = {"truncation": True, "max_length": in_graph.max_length} if in_graph and in_graph.max_length else {}
        before, tokenizer.truncation_side = tokenizer.truncation_side, side
        try:
            batch = tokenizer(*texts, return_token_type_ids=True, **cut)
        finally:
            tokenizer.truncation_side = before
        pad_token_id, is_left = (in_graph.pad_token_id, in_graph.is_left) if in_graph else (0, False)
        fill = {"input_ids": pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        return {name: _pad(batch[name], fill.get(name, 0), is_left) for name in self._specs if name in batch}


def _pad(rows: Sequence[Sequence[int]], value: int, is_left: bool) -> Any:
    """Rows of one length, 1 at least. Tokenizers without a pad token cannot pad."""
    width = max(1, *map(len, rows))
    missing = [[value] * (width - len(row)) for row in rows]
    pairs = zip(missing, rows, strict=True) if is_left else zip(rows, missing, strict=True)
    return np.array([[*left, *right] for left, right in pairs], np.int32)
