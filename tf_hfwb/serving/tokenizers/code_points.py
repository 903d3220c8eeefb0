"""Texts as code points in the graph, and what a tokenizer does to each code point, found by asking the tokenizer.

Texts are one flat vector of code points with the row of each. All operations are of TensorFlow's core, so that every
TensorFlow Serving has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_hfwb.serving.tokenizers.prefix_tree import Tree

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
        """Keep the code points where ``mask`` is true."""
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
    """Replaces code points by others.

    Args:
        replacements: What they give way to.
    """

    def __init__(self, replacements: Sequence[str]) -> None:
        self._codes = np.array([ord(character) for text in replacements for character in text], np.int32)
        self._lengths = np.array([len(text) for text in replacements] or [0], np.int32)
        self._starts = np.cumsum(self._lengths, dtype=np.int32) - self._lengths

    def __call__(self, flat: Flat, which: Any) -> tuple[Flat, Any]:
        """The new texts, and the number of new code points of each old one.

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
        number: How many others have been found before.

    Attributes:
        ids: The id of each, by the index that :data:`ADDED` is raised by.
        tree: What they are found by, whose table a SavedModel must hold on to.
    """

    def __init__(self, described: Sequence[Mapping[str, Any]], number: int = 0) -> None:
        self._number = number
        self.ids = np.array([token["id"] for token in described], np.int32)
        self.tree = Tree({token["content"]: index for index, token in enumerate(described)})
        # Whether each takes away the white space before it, and behind it.
        self._takes = [np.array([bool(token[side]) for token in described]) for side in ("lstrip", "rstrip")]

    def __call__(self, flat: Flat, is_space: Any) -> Flat:
        """The texts with one code point for each added token.

        Args:
            flat: The texts.
            is_space: Whether each code point is white space, which some tokens take away beside them.
        """
        codes, keep = self.found(flat, is_space)
        return Flat(codes, flat.rows, flat.number).only(keep)

    def found(self, flat: Flat, is_space: Any) -> tuple[Any, Any]:
        """The code points with those that stand for added tokens among them, and which of them are to be kept."""
        import tensorflow as tf

        if not len(self.ids):
            return flat.codes, tf.ones_like(flat.codes, tf.bool)
        codes, rows, _ = flat
        ends = tf.searchsorted(rows, rows, side="right")
        tokens, lengths = self.tree.longest_from(tf.zeros_like(codes, tf.int64), codes, ends)
        is_token = _one_after_another(lengths, rows)
        places, lengths = (tf.boolean_mask(values, is_token) for values in (tf.range(tf.size(codes)), lengths))
        covered = tf.ragged.range(places, places + lengths).values[:, None]
        owner = tf.repeat(tf.boolean_mask(tokens, is_token), lengths)
        owner = tf.tensor_scatter_nd_update(tf.fill(tf.shape(codes), -1), covered, owner)
        keep = is_token | (owner < 0)
        is_space &= owner < 0
        before, behind = ((owner >= 0) & tf.gather(takes, tf.maximum(owner, 0)) for takes in self._takes)
        if self._takes[0].any():
            keep &= ~_just_before(before, is_space, rows)
        if self._takes[1].any():
            keep &= ~_just_before(behind[::-1], is_space[::-1], rows[::-1])[::-1]
        return tf.where(is_token, ADDED + self._number + tokens, codes), keep


def _one_after_another(lengths: Any, rows: Any) -> Any:
    """The first match in each row, then the first one that begins after its end, and so on.

    Args:
        lengths: The length of what is found at each place; 0 where nothing is.
        rows: The row of each place.
    """
    import tensorflow as tf

    places = tf.cast(tf.where(lengths > 0)[:, 0], tf.int32)
    nowhere = tf.size(rows)
    places, rows_of = tf.concat([places, [nowhere]], 0), tf.concat([rows, [-1]], 0)

    def walk(at: Any, row: Any, found: Any) -> tuple[Any, ...]:
        place = tf.gather(places, tf.searchsorted(places, at))
        is_found = tf.gather(rows_of, place) == row
        place, row = tf.boolean_mask(place, is_found), tf.boolean_mask(row, is_found)
        found = tf.tensor_scatter_nd_update(found, place[:, None], tf.fill(tf.shape(place), True))
        return place + tf.gather(lengths, place), row, found

    vector = tf.TensorSpec([None], tf.int32).shape
    is_first = shift(rows, -1, -1) != rows
    return tf.while_loop(
        lambda at, *rest: tf.size(at) > 0,
        walk,
        (tf.cast(tf.where(is_first)[:, 0], tf.int32), tf.boolean_mask(rows, is_first), tf.zeros_like(rows, tf.bool)),
        shape_invariants=(vector,) * 3,
    )[2]


def _just_before(is_token: Any, is_space: Any, rows: Any) -> Any:
    """Whether each code point is white space right before a token."""
    import tensorflow as tf

    begins = is_space & ~(shift(is_space, -1, False) & (shift(rows, -1, -1) == rows))
    run = tf.cumsum(tf.cast(begins, tf.int32)) * tf.cast(is_space, tf.int32)
    is_last = is_space & shift(is_token, 1, False) & (shift(rows, 1, -1) == rows)
    chosen = tf.boolean_mask(run, is_last)
    number = tf.reduce_max(tf.concat([run, [0]], 0)) + 1
    return is_space & tf.gather(tf.scatter_nd(chosen[:, None], tf.fill(tf.shape(chosen), True), [number]), run)


def to_code_points(text: Any) -> Flat:
    """A vector of texts [batch] as code points."""
    import tensorflow as tf

    ragged = tf.strings.unicode_decode(text, "UTF-8")
    return Flat(ragged.values, ragged.value_rowids(), tf.shape(text)[0])


def taken_by(splitter: Any) -> np.ndarray:
    """Whether a pre-tokenizer of the ``tokenizers`` library removes each of :data:`PROBED`."""
    text = "".join(map(chr, PROBED))
    is_taken = np.ones(len(text), bool)
    for _, (start, end) in splitter.pre_tokenize_str(text):
        is_taken[start:end] = False
    return is_taken


def begins_of(flat: Flat) -> Any:
    """Whether an added token or a stretch of text between them begins at each code point."""
    is_added = flat.codes >= ADDED
    return (shift(flat.rows, -1, -1) != flat.rows) | is_added | shift(is_added, -1, False)


def bounds(begins: Any) -> tuple[Any, Any]:
    """Where parts of a vector start and end, from whether one begins at each place, which one does at the first."""
    import tensorflow as tf

    starts = tf.cast(tf.where(begins)[:, 0], tf.int32)
    return starts, tf.concat([starts[1:], tf.repeat(tf.size(begins), tf.minimum(tf.size(starts), 1))], 0)


def octets_of(codes: Any) -> Any:
    """The number of bytes of each code point in UTF-8."""
    import tensorflow as tf

    return 1 + sum(tf.cast(codes >= least, tf.int32) for least in (0x80, 0x800, 0x10000))


def insert_before(flat: Flat, flags: Any, code: int) -> tuple[Flat, Any, Any]:
    """Insert ``code`` in front of each flagged code point.

    Returns:
        The texts; where each of their code points was; and which of them are new.
    """
    import tensorflow as tf

    places = tf.repeat(tf.range(tf.size(flat.codes)), tf.where(flags, 2, 1))
    is_new = tf.gather(flags, places) & (shift(places, 1, -1) == places)
    codes = tf.where(is_new, code, tf.gather(flat.codes, places))
    return Flat(codes, tf.gather(flat.rows, places), flat.number), places, is_new


def with_added_ids(ids: Any, codes: Any, added: np.ndarray) -> Any:
    """The ids, with those of added tokens where the code point stands for one.

    Args:
        ids: The id of each code point [n].
        codes: The code points [n].
        added: The id of each added token, by the index that :data:`ADDED` is raised by.
    """
    import tensorflow as tf

    if not len(added):
        return ids
    is_added = codes >= ADDED
    return tf.where(is_added, tf.gather(added, tf.where(is_added, codes - ADDED, 0)), ids)


def every_other(flags: Any) -> Any:
    """The first, third, fifth... of each run of true flags: pairs that overlap cannot both be replaced."""
    import tensorflow as tf

    places = tf.range(tf.size(flags))
    starts = flags & ~shift(flags, -1, False)
    run = tf.maximum(tf.cumsum(tf.cast(starts, tf.int32)) - 1, 0)
    first = tf.concat([tf.boolean_mask(places, starts), [0]], 0)
    return flags & ((places - tf.gather(first, run)) % 2 == 0)


def shift(values: Any, by: int, outside: Any) -> Any:
    """``values[i + by]`` at each i; ``outside`` where there is none."""
    import tensorflow as tf

    edge = tf.fill([tf.minimum(abs(by), tf.shape(values)[0])], tf.constant(outside, values.dtype))
    return tf.concat([values[by:], edge] if by > 0 else [edge, values[:by]], 0)
