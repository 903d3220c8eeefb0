"""From the ids of a tokenizer to text, in the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.serving.tokenizers.byte_level import byte_characters

Pieces = dict[int, bytes]  # By the id of the token.


class Detokenizer:
    """Turns ids of a tokenizer into text, in the graph; special tokens are left out.

    Args:
        tokenizer: A tokenizer for which :func:`can_detokenize` is true.
    """

    def __init__(self, tokenizer: Any) -> None:
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        is_unigram = described["model"]["type"] == "Unigram"
        # The first token of a text may lose its leading space.
        pieces, first_pieces = _unigram_pieces(described) if is_unigram else _byte_level_pieces(described)
        special = {token["id"] for token in described["added_tokens"] if token["special"]}
        ids = range(max(pieces) + 2)  # The last one stands for ids that the tokenizer does not have.
        self._is_written = np.array([id in pieces and id not in special for id in ids])
        self._pieces = np.array([pieces.get(id, b"") for id in ids], object)
        self._first_pieces = np.array([first_pieces.get(id, b"") for id in ids], object)

    def __call__(self, ids: Any) -> Any:
        """The text of each row; bytes that are not UTF-8 become U+FFFD."""
        import tensorflow as tf

        places = tf.minimum(ids, len(self._pieces) - 1)
        is_written = tf.gather(self._is_written, places)
        is_first = tf.cumsum(tf.cast(is_written, tf.int32), axis=1) == 1
        pieces = tf.where(is_first, tf.gather(self._first_pieces, places), tf.gather(self._pieces, places))
        text = tf.strings.reduce_join(tf.where(is_written, pieces, ""), axis=1)
        return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")


def _unigram_pieces(described: Mapping[str, Any]) -> tuple[Pieces, Pieces]:
    decoder = described["decoder"]
    mark = decoder["replacement"]
    tokens = {id: piece for id, (piece, _) in enumerate(described["model"]["vocab"])}
    tokens |= {token["id"]: token["content"] for token in described["added_tokens"]}
    pieces = {id: token.replace(mark, " ").encode() for id, token in tokens.items()}
    if decoder["prepend_scheme"] == "never":
        return pieces, pieces
    return pieces, {id: token.replace(mark, "").encode() for id, token in tokens.items()}


def _byte_level_pieces(described: Mapping[str, Any]) -> tuple[Pieces, Pieces]:
    octets = {character: byte for byte, character in enumerate(byte_characters())}
    pieces = {
        id: bytes(octets[character] for character in piece if character in octets)
        for piece, id in described["model"]["vocab"].items()
    }
    pieces |= {token["id"]: token["content"].encode() for token in described["added_tokens"]}
    return pieces, pieces


def can_detokenize(tokenizer: Any) -> bool:
    """Whether :class:`Detokenizer` can write the ids of a tokenizer as text."""
    described: Mapping[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    decoders = {"BPE": "ByteLevel", "Unigram": "Metaspace"}
    return (described["decoder"] or {}).get("type", "") == decoders.get(described["model"]["type"])
