"""A tokenizer in the graph: from texts to ids, truncated, with special tokens and padded as the tokenizer does it."""

from __future__ import annotations

import json
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.serving.tokenizers.byte_level import ByteLevel, byte_characters
from tf_hfwb.serving.tokenizers.unigram import Unigram
from tf_hfwb.serving.tokenizers.unsupported import UnsupportedTokenizerError
from tf_hfwb.serving.tokenizers.wordpiece import WordPiece


class TextsInGraph:
    """A tokenizer as TensorFlow operations.

    Args:
        tokenizer: A fast tokenizer of transformers.
        max_length: The most ids that a text, or a pair, becomes, those that frame it included; None for no limit.
        pad_token_id: The id with which shorter texts are padded; the tokenizer's when None.
        is_left: Whether they are padded on the left; as the tokenizer does when None.

    Attributes:
        tables: The tables that a SavedModel must contain.
        pad_token_id: The argument, or the tokenizer's; 0 where there is none.
        is_left: The argument, or the tokenizer's.

    Raises:
        UnsupportedTokenizerError: It is of a kind that cannot be built.
        SettingError: ``max_length`` leaves no room for the text.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int | None,
        *,
        pad_token_id: int | None = None,
        is_left: bool | None = None,
    ) -> None:
        import tensorflow as tf

        words = _build_ids(tokenizer)
        self.tables = words.tables
        # One function, so that each use does not trace it again.
        self._ids = tf.function(words.__call__, input_signature=[tf.TensorSpec([None], tf.string)])
        self.pad_token_id = int((tokenizer.pad_token_id if pad_token_id is None else pad_token_id) or 0)
        self._pad_type = tokenizer.pad_token_type_id
        self.is_left = tokenizer.padding_side == "left" if is_left is None else is_left
        self._single, self._pair = (_frame(tokenizer, *["a"] * number) for number in (1, 2))
        self.max_length = max_length
        if max_length is not None and max_length <= _num_special_tokens(self._pair):
            raise SettingError(
                "max_length",
                max_length,
                expected=f"more than the {_num_special_tokens(self._pair)} special tokens that frame a pair of texts",
            )

    def __call__(self, text: Any, text_pair: Any = None) -> dict[str, Any]:
        """The model's inputs for texts, or for pairs of texts.

        Args:
            text: Texts [batch].
            text_pair: The second text of each, for pairs.

        Returns:
            ``input_ids``, ``attention_mask`` and ``token_type_ids`` [batch, longest].
        """
        parts = [self._ids(text)] if text_pair is None else [self._ids(text), self._ids(text_pair)]
        frame = self._single if text_pair is None else self._pair
        if self.max_length is not None:
            parts = _truncate(parts, self.max_length - _num_special_tokens(frame))
        return self._add_special_tokens(parts, frame)

    def prompts(self, text: Any, longest: int | None) -> dict[str, Any]:
        """The inputs of a model that continues the texts. Of a text that is too long, the end is kept.

        Args:
            text: Texts [batch].
            longest: The most ids that the model has room for; None for no limit besides :attr:`max_length`.
        """
        limits = [limit for limit in (longest, self.max_length) if limit is not None]
        ids = self._ids(text)
        if limits:
            ids = ids[:, -max(1, min(limits) - _num_special_tokens(self._single)) :]
        return self._add_special_tokens([ids], self._single)

    def _add_special_tokens(self, parts: list[Any], frame: list[tuple[int | None, int, int]]) -> dict[str, Any]:
        import tensorflow as tf

        number = tf.cast(parts[0].nrows(), tf.int32)
        ids, types = [], []
        for part, value, type_id in frame:
            piece = tf.RaggedTensor.from_tensor(tf.fill([number, 1], value)) if part is None else parts[part]
            ids.append(piece)
            types.append(tf.ones_like(piece) * type_id)
        row = tf.concat(ids, axis=1)
        return {
            "input_ids": _pad(row, self.pad_token_id, self.is_left),
            "attention_mask": _pad(tf.ones_like(row), 0, self.is_left),
            "token_type_ids": _pad(tf.concat(types, axis=1), self._pad_type, self.is_left),
        }


def _pad(rows: Any, value: int, is_left: bool) -> Any:
    """A tensor that is at least one token wide, as every model needs."""
    import tensorflow as tf

    width = tf.maximum(rows.bounding_shape(axis=1, out_type=tf.int32), 1)
    shape = tf.stack([tf.cast(rows.nrows(), tf.int32), width])
    if not is_left:
        return rows.to_tensor(value, shape=shape)
    return tf.reverse(rows[:, ::-1].to_tensor(value, shape=shape), axis=[1])


def _truncate(parts: list[Any], room: int) -> list[Any]:
    """Truncate as "longest_first" of transformers' fast tokenizers: the longer text first, then both."""
    import tensorflow as tf

    if len(parts) == 1:
        return [parts[0][:, :room]]
    lengths = [part.row_lengths() for part in parts]
    shorter, longer = tf.minimum(*lengths), tf.maximum(*lengths)
    longer = tf.where(shorter > room, shorter, tf.minimum(longer, tf.maximum(shorter, room - shorter)))
    is_over = shorter + longer > room
    shorter = tf.where(is_over, tf.constant(room // 2, tf.int64), shorter)
    longer = tf.where(is_over, tf.constant(room // 2 + room % 2, tf.int64), longer)
    is_first_longer = lengths[0] > lengths[1]
    kept = tf.where(is_first_longer, longer, shorter), tf.where(is_first_longer, shorter, longer)
    return [_first(part, number) for part, number in zip(parts, kept, strict=True)]


def _first(rows: Any, number: Any) -> Any:
    """The first values of each row."""
    import tensorflow as tf

    places = tf.ragged.range(rows.row_lengths()).values
    return tf.ragged.boolean_mask(rows, rows.with_values(places < tf.repeat(number, rows.row_lengths())))


def _frame(tokenizer: Any, *texts: str) -> list[tuple[int | None, int, int]]:
    """The texts and the special tokens around them: (index of the text or None, the token's id, type)."""
    encoding = tokenizer(*texts).encodings[0]
    frame: list[tuple[int | None, int, int]] = []
    for id, type_id, part in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        if part is None or not frame or frame[-1][0] != part:
            frame.append((part, id, type_id))
    return frame


def _num_special_tokens(frame: list[tuple[int | None, int, int]]) -> int:
    return sum(part is None for part, *_ in frame)


def _build_ids(tokenizer: Any) -> Any:
    """The part that turns texts into ids, by the tokenizer's kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedTokenizerError(f"{type(tokenizer).__name__} is no fast tokenizer")
    described = json.loads(backend.to_str())
    kind, model = described["model"].get("type"), described["model"]
    normalizer, splitter = described["normalizer"] or {}, described["pre_tokenizer"] or {}
    for token in described["added_tokens"]:
        if token["normalized"] and normalizer and kind == "BPE":
            raise UnsupportedTokenizerError(
                f"its added token {token['content']!r} is found in normalised text. Add it as "
                "AddedToken(..., normalized=False)"
            )
        if token["single_word"] or not token["content"]:
            raise UnsupportedTokenizerError(f"its added token {token['content']!r} is found in a way of its own")
        if (token["lstrip"] or token["rstrip"]) and kind == "WordPiece":
            raise UnsupportedTokenizerError(f"its added token {token['content']!r} takes white space away")
    if tokenizer.truncation_side != "right":
        raise UnsupportedTokenizerError(f"it truncates on the {tokenizer.truncation_side}")
    if kind == "WordPiece" and (normalizer.get("type"), splitter.get("type")) == ("BertNormalizer", "BertPreTokenizer"):
        if not normalizer["clean_text"]:
            raise UnsupportedTokenizerError("it keeps control characters (clean_text is false)")
        return WordPiece(backend, described)
    if kind == "BPE" and not normalizer and splitter.get("type") == "ByteLevel" and splitter.get("use_regex", True):
        options = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
        given = [name for name in options if model.get(name)]
        if given or not set(byte_characters()) <= set(model["vocab"]):
            raise UnsupportedTokenizerError(f"its BPE has {', '.join(given) or 'no symbol for some bytes'}")
        return ByteLevel(described)
    if kind == "Unigram":
        return Unigram(backend, described)
    steps = [part["type"] for part in (normalizer, splitter) if part]
    raise UnsupportedTokenizerError(f"it is of the kind {kind} with {' and '.join(steps) or 'no splitting'}")
