"""The byte-level BPE of GPT-2 and RoBERTa in the graph: the same ids as the fast tokenizer's, for any text.

Where words begin follows from the classes of neighbouring characters; which characters are letters, numbers and white
space is asked of the ``tokenizers`` library. All words are merged at once, each by the rank of its own pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.serving.tokenizers.code_points import (
    ADDED,
    PROBED,
    SPACE,
    AddedTokens,
    Flat,
    Ranges,
    begins_of,
    every_other,
    insert_before,
    octets_of,
    shift,
    taken_by,
    to_code_points,
    with_added_ids,
)

_OTHER, _LETTER, _NUMBER, _WHITE, _ADDED, _OUTSIDE = range(6)
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_NEVER = np.int64(2**62)


class ByteLevel:
    """Turns texts into ids.

    Args:
        described: A tokenizer's JSON.

    Attributes:
        tables: What a SavedModel must hold on to.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        import tensorflow as tf

        model = described["model"]
        self._prefix_space = described["pre_tokenizer"]["add_prefix_space"]
        self._added = AddedTokens(described["added_tokens"])
        self._classes = _classes()
        vocabulary = model["vocab"]
        self._bytes = np.array([vocabulary[character] for character in byte_characters()], np.int32)
        merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        keys = np.array([vocabulary[left] << 32 | vocabulary[right] for left, right in merges], np.int64)
        values = np.array([rank << 32 | vocabulary[a + b] for rank, (a, b) in enumerate(merges)], np.int64)
        initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
        self._merges = tf.lookup.StaticHashTable(initializer, int(_NEVER))
        self.tables = [self._merges, self._added.tree.children]

    def __call__(self, text: Any) -> Any:
        """The ids of each text [batch], ragged and without special tokens."""
        import tensorflow as tf

        flat = to_code_points(text)
        flat = self._added(flat, self._classes(flat.codes) == _WHITE)
        if self._prefix_space:
            flat = _with_prefix_space(flat)
        is_added = flat.codes >= ADDED
        kinds = tf.where(is_added, _ADDED, self._classes(flat.codes))
        words = tf.cumsum(tf.cast(_begins(flat, kinds), tf.int32)) - 1

        octets, counts = _utf8(tf.where(is_added, 0, flat.codes))
        symbols = tf.gather(self._bytes, octets)
        symbols = with_added_ids(symbols, tf.repeat(flat.codes, counts), self._added.ids)
        at, symbols = self._merge_pairs(symbols, tf.repeat(words, counts))
        rows = tf.gather(tf.repeat(flat.rows, counts), at)
        return tf.RaggedTensor.from_value_rowids(symbols, rows, tf.cast(flat.number, tf.int64), validate=False)

    def _merge_pairs(self, symbols: Any, words: Any) -> tuple[Any, Any]:
        """The symbols of each word [m] when no pair can be merged any more, and where each starts."""
        import tensorflow as tf

        number = tf.reduce_max(tf.concat([words, [-1]], 0)) + 1

        def merge(at: Any, symbols: Any, words: Any, done_at: Any, done: Any) -> tuple[Any, ...]:
            left, right = tf.cast(symbols, tf.int64), tf.cast(shift(symbols, 1, 0), tf.int64)
            is_pair = shift(words, 1, -1) == words
            merged = self._merges.lookup(tf.where(is_pair, left * 2**32 + right, -1))
            best = tf.gather(tf.math.unsorted_segment_min(merged, words, number), words)
            is_done = best == _NEVER
            done_at = tf.concat([done_at, tf.boolean_mask(at, is_done)], 0)
            done = tf.concat([done, tf.boolean_mask(symbols, is_done)], 0)
            is_hit = every_other((merged == best) & ~is_done)
            symbols = tf.where(is_hit, tf.cast(merged % 2**32, tf.int32), symbols)
            keep = ~is_done & ~shift(is_hit, -1, False)
            kept = (tf.boolean_mask(values, keep) for values in (at, symbols, words))
            return *kept, done_at, done

        vector = tf.TensorSpec([None], tf.int32).shape
        nothing = tf.zeros([0], tf.int32)
        _, _, _, at, symbols = tf.while_loop(
            lambda at, *rest: tf.size(at) > 0,
            merge,
            (tf.range(tf.size(symbols)), symbols, words, nothing, nothing),
            shape_invariants=(vector,) * 5,
        )
        order = tf.argsort(at)
        return tf.gather(at, order), tf.gather(symbols, order)


def byte_characters() -> list[str]:
    """The character that stands for each byte in the vocabulary: itself if it is printable, else one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte if byte in seen else 256 + unseen.index(byte)) for byte in range(256)]


def _classes() -> Ranges:
    """Whether a character is a letter, a number, white space or another one."""
    from tokenizers import Regex, pre_tokenizers

    kinds = np.full(len(PROBED), _OTHER)
    for expression, kind in ((r"\p{L}+", _LETTER), (r"\p{N}+", _NUMBER), (r"\s+", _WHITE)):
        kinds[taken_by(pre_tokenizers.Split(Regex(expression), "removed"))] = kind
    return Ranges(kinds)


def _with_prefix_space(flat: Flat) -> Flat:
    """Add a space before each text, and after each added token, where there is none."""
    needs = begins_of(flat) & (flat.codes != SPACE) & (flat.codes < ADDED)
    return insert_before(flat, needs, SPACE)[0]


def _begins(flat: Flat, kinds: Any) -> Any:
    """Whether a word begins at each character, by GPT-2's expression."""
    import tensorflow as tf

    codes, starts = flat.codes, begins_of(flat)
    before = tf.where(starts, _OUTSIDE, shift(kinds, -1, _OUTSIDE))
    after = tf.where(shift(starts, 1, True), _OUTSIDE, shift(kinds, 1, _OUTSIDE))
    is_white = kinds == _WHITE
    # A single space belongs to the word behind it, which is why white space leaves its last character alone.
    in_word = (before == kinds) | ((before == _WHITE) & (shift(codes, -1, 0) == SPACE))
    in_white = (before == _WHITE) & ((after == _WHITE) | (after == _OUTSIDE))
    begins = starts | tf.where(is_white, ~in_white, ~in_word)

    segments = tf.cumsum(tf.cast(starts, tf.int32))
    candidates = begins & (codes == ord("'"))
    for contraction in _CONTRACTIONS:
        is_here = candidates
        for offset, character in enumerate(contraction[1:], 1):
            is_here &= (shift(codes, offset, -1) == ord(character)) & (shift(segments, offset, -1) == segments)
        for offset in range(1, len(contraction)):
            begins &= ~shift(is_here, -offset, False)
        begins |= shift(is_here, -len(contraction), False)
    return begins


def _utf8(codes: Any) -> tuple[Any, Any]:
    """The bytes of the characters in UTF-8, and the number of bytes of each."""
    import tensorflow as tf

    six = [tf.bitwise.bitwise_and(tf.bitwise.right_shift(codes, 6 * n), 63) + 128 for n in range(3)]
    forms = [
        [codes],
        [tf.bitwise.right_shift(codes, 6) + 192, six[0]],
        [tf.bitwise.right_shift(codes, 12) + 224, six[1], six[0]],
        [tf.bitwise.right_shift(codes, 18) + 240, six[2], six[1], six[0]],
    ]
    zeros = tf.zeros_like(codes)
    stacked = tf.stack([tf.stack([*form, *[zeros] * (4 - len(form))], axis=1) for form in forms])
    counts = octets_of(codes)
    chosen = tf.gather_nd(stacked, tf.stack([counts - 1, tf.range(tf.size(codes))], axis=1))
    return tf.boolean_mask(chosen, tf.sequence_mask(counts, 4)), counts
