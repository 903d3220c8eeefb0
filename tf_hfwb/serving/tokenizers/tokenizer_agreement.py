"""The check that the ids of the graph are those of the tokenizer."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from typing import Any

from tf_hfwb.errors import ExportError
from tf_hfwb.messages import inform
from tf_hfwb.serving.tokenizers.texts_in_graph import TextsInGraph

_logger = logging.getLogger("tf_hfwb")

_SENTENCES = [
    "It's a test: don't split \"they'll\" or 3.14 badly, please (really)!",
    "Les élèves français étudient l'œuvre naïve à l'été.",
    "Größe, Straße, ÜBER — Ελληνικός ΣΟΦΟΣ; Привет, мир! İstanbul",
    "東京は日本の首都です。世界 안녕하세요 한국어 नमस्ते สวัสดี مُحَمَّد שלום",
    "👨‍👩‍👧‍👦 🏳️‍🌈 1️⃣ 😀 ½ ² Ⅷ ﬁ",
    "user@mail.org https://example.org/a_b?c=d&e=f#g C++ foo_bar x=1;\ty\r\n  z",
]
_HARD = ["", " ", "\n\n", "\0a\0", "\u200d\ufeff\u00ad", "a\u00a0b\u3000c\u0085d", "'s''ll 'tis", "x" * 300, "ab" * 60]


def hard_texts(tokenizer: Any) -> list[str]:
    """Texts that are hard on a tokenizer, its own special tokens among them."""
    apart = [unicodedata.normalize("NFD", sentence) for sentence in _SENTENCES]
    special = [f"a {token}b{token} c" for token in tokenizer.all_special_tokens]
    return [*_SENTENCES, *apart, *(sentence.upper() for sentence in _SENTENCES), *_HARD, *special]


def check_agreement(texts: TextsInGraph, tokenizer: Any, more: Sequence[str], *, is_accepted: bool) -> None:
    """Compare the ids for a sample and for ``more``, alone and in pairs, and report it.

    Raises:
        ExportError: They differ for a text, and that is not accepted.
    """
    import tensorflow as tf

    given = [*hard_texts(tokenizer), *more]
    wrong = []
    for columns in ([given], [given, given[1:] + given[:1]]):
        encoded = texts(*(tf.constant(column) for column in columns))
        cut = {"truncation": True, "max_length": texts.max_length} if texts.max_length else {}
        expected = tokenizer(*columns, return_token_type_ids=True, **cut)
        rows = zip(*(encoded[name].numpy() for name in ("input_ids", "token_type_ids", "attention_mask")), strict=True)
        ours = [tuple(row[mask == 1].tolist() for row in (ids, types)) for ids, types, mask in rows]
        theirs = zip(expected["input_ids"], expected["token_type_ids"], strict=True)
        wrong += [c for *c, a, b in zip(*columns, ours, theirs, strict=True) if a != b]
    if not wrong:
        inform("The graph's ids are the tokenizer's for all %d texts, alone and in pairs.", len(given))
        return
    found = f"The graph's ids are not the tokenizer's for {len(wrong)} of {2 * len(given)} texts, such as {wrong[0]!r}."
    if not is_accepted:
        raise ExportError(
            f"{found} Nothing was published. Pass accept_tokenizer_differences=True to publish it all the same, or no "
            "tokenizer to have a SavedModel that takes token ids only."
        )
    _logger.warning("%s It was accepted.", found)
