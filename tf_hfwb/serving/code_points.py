"""Texts as code points in the graph, and what a tokenizer makes of each code point, asked of the tokenizer itself.

Texts are one flat vector of code points with the row of each. All operations are of TensorFlow's core, so that every
TensorFlow Serving has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

SPACE = 32
# A code point that stands for the added token of that index: beyond Unicode, so that no text can hold it.
ADDED = 0x110000
# Besides the planes in which Unicode has assigned anything: each plane's first code point and its last two, which are
# no characters. Those between behave like the first.
PROBED = [
    *(code for code in range(0x40000) if not 0xD800 <= code < 0xE000),
    *range(0xE0000, 0xE1000),
    *(code for plane in range(0x40000, ADDED, 0x10000) for code in (plane, plane + 0xFFFE, plane + 0xFFFF)),
]
PROBED = sorted({*PROBED, 0xE1000})


class Flat(NamedTuple):
    """Texts as tensors.

    Attributes:
        codes: The code points [n].
        rows: The index of the text that each belongs to [n].
        number: How many texts there are.
    """

    codes: Any
    rows: Any
    number: Any

    def only(self, mask: Any) -> Flat:
        """Without those where ``mask`` is false."""
        import tensorflow as tf

        return Flat(tf.boolean_mask(self.codes, mask), tf.boolean_mask(self.rows, mask), self.number)


class Ranges:
    """A number for each code point, kept as ranges.

    Args:
        kinds: The number of each of :data:`PROBED`.
    """

    def __init__(self, kinds: Sequence[int] | np.ndarray) -> None:
        values = np.asarray(kinds, np.int32)
        changes = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
        self._starts = np.asarray(PROBED, np.int32)[changes]
        self._values = values[changes]

    def __call__(self, codes: Any) -> Any:
        """The numbers of code points."""
        import tensorflow as tf

        return tf.gather(self._values, tf.searchsorted(self._starts, codes, side="right") - 1)


KEPT, DROPPED = -1, -2


class Replacements:
    """Code points that give way to others.

    Args:
        replacements: What they give way to.
    """

    def __init__(self, replacements: Sequence[str]) -> None:
        self._codes = np.array([ord(character) for text in replacements for character in text], np.int32)
        self._lengths = np.array([len(text) for text in replacements] or [0], np.int32)
        self._starts = np.cumsum(self._lengths, dtype=np.int32) - self._lengths

    def __call__(self, flat: Flat, which: Any) -> tuple[Flat, Any]:
        """The new texts, and how many code points each old one has become.

        Args:
            flat: The texts.
            which: The index of the replacement of each code point, :data:`KEPT` or :data:`DROPPED`.
        """
        import tensorflow as tf

        row = tf.maximum(which, 0)
        own = tf.range(tf.size(flat.codes)) + len(self._codes)
        starts = tf.where(which >= 0, tf.gather(self._starts, row), own)
        lengths = tf.where(which >= 0, tf.gather(self._lengths, row), tf.where(which == DROPPED, 0, 1))
        places = tf.ragged.range(starts, starts + lengths).values
        codes = tf.gather(tf.concat([self._codes, flat.codes], 0), places)
        return Flat(codes, tf.repeat(flat.rows, lengths), flat.number), lengths


class AddedTokens:
    """The tokens that a tokenizer finds in a text before anything else, such as ``[SEP]``.

    Args:
        described: ``added_tokens`` of a tokenizer's JSON.

    Attributes:
        ids: The id of each, by the index that :data:`ADDED` is raised by.
    """

    def __init__(self, described: Sequence[dict[str, Any]]) -> None:
        # Where two begin at one place, the longer one is taken.
        self._tokens = sorted(described, key=lambda token: -len(token["content"]))
        self.ids = np.array([token["id"] for token in self._tokens], np.int32)

    def __call__(self, flat: Flat, is_space: Any) -> Flat:
        """The texts with one code point for each added token.

        Args:
            flat: The texts.
            is_space: Whether each code point is white space, which some tokens take away beside them.
        """
        import tensorflow as tf

        codes, rows, _ = flat
        longest = max((len(token["content"]) for token in self._tokens), default=1)
        ahead = tf.concat([codes, tf.fill([longest], -1)], 0)
        rows_ahead = tf.concat([rows, tf.fill([longest], tf.constant(-1, rows.dtype))], 0)
        found = codes
        taken = tf.zeros_like(codes, tf.bool)
        for index, token in enumerate(self._tokens):
            content = tf.constant([ord(character) for character in token["content"]])
            places = tf.where(codes == content[0])[:, 0]
            windows = places[:, None] + tf.range(len(token["content"]), dtype=tf.int64)
            is_here = tf.reduce_all(tf.gather(ahead, windows) == content, axis=1)
            is_here &= tf.gather(rows_ahead, windows[:, -1]) == tf.gather(rows, places)
            is_here &= ~tf.reduce_any(tf.gather(tf.concat([taken, tf.fill([longest], False)], 0), windows), axis=1)
            places, windows = tf.boolean_mask(places, is_here), tf.boolean_mask(windows, is_here)
            found = tf.tensor_scatter_nd_update(found, places[:, None], tf.fill(tf.shape(places), ADDED + index))
            every = tf.reshape(windows, [-1, 1])
            taken = tf.tensor_scatter_nd_update(taken, every, tf.fill(tf.shape(every)[:1], True))
        keep = ~taken | (found >= ADDED)
        greedy = [ADDED + index for index, token in enumerate(self._tokens) if token["lstrip"]]
        if greedy:
            is_greedy = tf.reduce_any(found[:, None] == tf.constant(greedy), axis=1)
            keep &= ~_just_before(is_greedy, is_space & ~taken, rows)
        return Flat(found, rows, flat.number).only(keep)


def _just_before(is_token: Any, is_space: Any, rows: Any) -> Any:
    """Whether each is in the white space that ends where a token begins."""
    import tensorflow as tf

    begins = is_space & ~(shifted(is_space, -1, False) & (shifted(rows, -1, -1) == rows))
    run = tf.cumsum(tf.cast(begins, tf.int32)) * tf.cast(is_space, tf.int32)
    is_last = is_space & shifted(is_token, 1, False) & (shifted(rows, 1, -1) == rows)
    chosen = tf.boolean_mask(run, is_last)
    number = tf.reduce_max(tf.concat([run, [0]], 0)) + 1
    return is_space & tf.gather(tf.scatter_nd(chosen[:, None], tf.fill(tf.shape(chosen), True), [number]), run)


def decoded(text: Any) -> Flat:
    """A vector of texts [batch] as code points."""
    import tensorflow as tf

    ragged = tf.strings.unicode_decode(text, "UTF-8")
    return Flat(ragged.values, ragged.value_rowids(), tf.shape(text)[0])


def taken_by(splitter: Any) -> np.ndarray:
    """Whether each of :data:`PROBED` is taken away by a pre-tokenizer of the ``tokenizers`` library."""
    text = "".join(map(chr, PROBED))
    is_taken = np.ones(len(text), bool)
    for _, (start, end) in splitter.pre_tokenize_str(text):
        is_taken[start:end] = False
    return is_taken


def every_other(flags: Any) -> Any:
    """The first, third, fifth... of each run of true flags: pairs that overlap cannot both be replaced."""
    import tensorflow as tf

    places = tf.range(tf.size(flags))
    starts = flags & ~shifted(flags, -1, False)
    run = tf.maximum(tf.cumsum(tf.cast(starts, tf.int32)) - 1, 0)
    first = tf.concat([tf.boolean_mask(places, starts), [0]], 0)
    return flags & ((places - tf.gather(first, run)) % 2 == 0)


def shifted(values: Any, by: int, outside: Any) -> Any:
    """``values[i + by]`` at each i; ``outside`` where there is none."""
    import tensorflow as tf

    edge = tf.fill([tf.minimum(abs(by), tf.shape(values)[0])], tf.constant(outside, values.dtype))
    return tf.concat([values[by:], edge] if by > 0 else [edge, values[:by]], 0)
