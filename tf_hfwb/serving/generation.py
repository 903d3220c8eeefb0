"""``generate`` in a SavedModel: greedy, up to a number of new tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.generation import configured, without_false_alarms
from tf_hfwb.serving.byte_level import byte_characters

_NEW_TOKENS = 20


class Continuation:
    """What follows a prompt.

    Args:
        model: A TF model of transformers that can generate.
        max_new_tokens: The most tokens that are generated; what the model's generation config says, else 20, when None.

    Raises:
        SettingError: The number cannot be used, or the model lacks what generating needs.
    """

    def __init__(self, model: Any, max_new_tokens: int | None) -> None:
        self._model = model
        config = configured(model, {"num_beams": 1, "do_sample": False})
        config.max_new_tokens = max_new_tokens or config.max_new_tokens or _NEW_TOKENS
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions and config.max_new_tokens >= positions:
            raise SettingError(
                "max_new_tokens",
                config.max_new_tokens,
                expected=f"less than {positions}, the model's positions, so that there is room for a prompt",
            )
        self._config = config
        self._longest_prompt = positions - config.max_new_tokens if positions else None

    def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
        """The new ids [batch, length]; for an encoder-decoder its start token and what follows.

        Prompts may be padded on either side. Of one that leaves a decoder-only model no positions for the new tokens,
        the beginning is dropped.
        """
        import tensorflow as tf

        if self._model.config.is_encoder_decoder:
            return self._generate(input_ids, attention_mask)
        # Generating goes on at the right end.
        order = tf.argsort(attention_mask, axis=1, stable=True)
        ids, mask = (tf.gather(value, order, batch_dims=1) for value in (input_ids, attention_mask))
        if self._longest_prompt is not None:
            ids, mask = ids[:, -self._longest_prompt :], mask[:, -self._longest_prompt :]
        return self._generate(ids, mask)[:, tf.shape(ids)[1] :]

    def _generate(self, ids: Any, mask: Any) -> Any:
        with without_false_alarms():
            return self._model.generate(ids, attention_mask=mask, generation_config=self._config)


class Spelling:
    """Ids of a tokenizer as text, in the graph; special tokens are left out.

    Args:
        tokenizer: A tokenizer for which :func:`is_spelled` is true.
    """

    def __init__(self, tokenizer: Any) -> None:
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        model, decoder = described["model"], described["decoder"]
        if model["type"] == "Unigram":
            mark = decoder["replacement"]
            tokens = {id: piece for id, (piece, _) in enumerate(model["vocab"])}
            tokens |= {token["id"]: token["content"] for token in described["added_tokens"]}
            pieces = {id: token.replace(mark, " ").encode() for id, token in tokens.items()}
            without_marks = {id: token.replace(mark, "").encode() for id, token in tokens.items()}
            first = pieces if decoder["prepend_scheme"] == "never" else without_marks
        else:
            octets = {character: byte for byte, character in enumerate(byte_characters())}
            pieces = {
                id: bytes(octets[character] for character in piece if character in octets)
                for piece, id in model["vocab"].items()
            }
            first = pieces = pieces | {token["id"]: token["content"].encode() for token in described["added_tokens"]}
        specials = {token["id"] for token in described["added_tokens"] if token["special"]}
        places = range(max(pieces) + 2)  # The last one is for ids that the tokenizer does not have.
        self._is_written = np.array([id in pieces and id not in specials for id in places])
        self._pieces, self._first = (np.array([p.get(id, b"") for id in places], object) for p in (pieces, first))

    def __call__(self, ids: Any) -> Any:
        """The text of each row; bytes that are no UTF-8 become U+FFFD."""
        import tensorflow as tf

        places = tf.minimum(ids, len(self._pieces) - 1)
        is_written = tf.gather(self._is_written, places)
        is_first = tf.cumsum(tf.cast(is_written, tf.int32), axis=1) == 1
        pieces = tf.where(is_first, tf.gather(self._first, places), tf.gather(self._pieces, places))
        text = tf.strings.reduce_join(tf.where(is_written, pieces, ""), axis=1)
        return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")


def is_spelled(tokenizer: Any) -> bool:
    """Whether :class:`Spelling` can spell what a tokenizer in the graph has read."""
    described: Mapping[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    decoders = {"BPE": "ByteLevel", "Unigram": "Metaspace"}
    return (described["decoder"] or {}).get("type", "") == decoders.get(described["model"]["type"])
