"""SentencePiece's Unigram in the graph, as T5, ALBERT, XLM-R and XLNet have it: the same ids as the fast tokenizer's.

A word is cut into the pieces whose scores have the largest sum. The best last piece up to each character follows from
those before it, so all words go on by one character at once, each with what it needs of the characters behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.serving.tokenizers.code_points import (
    ADDED,
    SPACE,
    AddedTokens,
    Flat,
    begins_of,
    bounds,
    insert_before,
    shift,
    to_code_points,
    with_added_ids,
)
from tf_hfwb.serving.tokenizers.normalization import Normalizer, white_space
from tf_hfwb.serving.tokenizers.prefix_tree import Tree
from tf_hfwb.serving.tokenizers.unsupported import UnsupportedTokenizerError

_PENALTY = 10.0  # By which an unknown character is worse than the worst piece.


class Unigram:
    """Turns texts into ids.

    Args:
        tokenizer: A tokenizer of the ``tokenizers`` library.
        described: Its JSON.

    Attributes:
        tables: What a SavedModel must hold on to.

    Raises:
        UnsupportedTokenizerError: It has something that cannot be built.
    """

    def __init__(self, tokenizer: Any, described: Mapping[str, Any]) -> None:
        model = described["model"]
        if model["unk_id"] is None:
            raise UnsupportedTokenizerError("its Unigram has no unknown token")
        if model.get("byte_fallback"):
            raise UnsupportedTokenizerError("its Unigram writes unknown characters as bytes")
        # Some are found in the text as it is, the others after it is normalised.
        kinds: tuple[list[Mapping[str, Any]], ...] = [], []
        for token in described["added_tokens"]:
            kinds[token["normalized"]].append(token)
        if tokenizer.normalizer is not None:
            normalize = tokenizer.normalizer.normalize_str
            kinds[True][:] = [{**token, "content": normalize(token["content"])} for token in kinds[True]]
        self._added, self._added_late = AddedTokens(kinds[False]), AddedTokens(kinds[True], len(kinds[False]))
        self._added_ids = np.concatenate([self._added.ids, self._added_late.ids])
        self._white = white_space()
        self._normalizer = Normalizer(described["normalizer"])
        self._words = _Words(described["pre_tokenizer"])
        self._unknown = model["unk_id"]
        scores = [score for _, score in model["vocab"]]
        # Behind the pieces: an unknown character, and no piece at all.
        self._no_piece = len(scores) + 1
        self._scores = np.array([*scores, min(scores) - _PENALTY, -np.inf])
        self._ids = np.array([*range(len(scores)), self._unknown, -1], np.int32)
        self._pieces = Tree({piece: id for id, (piece, _) in enumerate(model["vocab"])})
        trees = self._pieces, self._added.tree, self._added_late.tree
        self.tables = [*(tree.children for tree in trees), *self._normalizer.tables]

    def __call__(self, text: Any) -> Any:
        """The ids of each text [batch], ragged and without special tokens."""
        import tensorflow as tf

        flat = to_code_points(text)
        flat = self._added(flat, self._white(flat.codes) == 1)
        flat = self._normalizer(flat)
        flat, begins = self._words(self._added_late(flat, self._white(flat.codes) == 1))
        first, ends = bounds(begins)
        pieces = self._pieces_ending(flat.codes, tf.gather(ends, tf.cumsum(tf.cast(begins, tf.int32)) - 1))
        starts, pieces = _backwards(pieces, self._best(pieces, first, ends), first, ends)

        ids = with_added_ids(tf.gather(self._ids, pieces), tf.gather(flat.codes, starts), self._added_ids)
        # Unknown characters side by side in a word are one unknown token.
        is_unknown = ids == self._unknown
        keep = tf.gather(begins, starts) | ~(is_unknown & shift(is_unknown, -1, False))
        rows = tf.gather(flat.rows, tf.boolean_mask(starts, keep))
        number = tf.cast(flat.number, tf.int64)
        return tf.RaggedTensor.from_value_rowids(tf.boolean_mask(ids, keep), rows, number, validate=False)

    def _pieces_ending(self, codes: Any, ends: Any) -> Any:
        """The pieces that end with each character [n, longest], the longest first; the last column is one character.

        Args:
            codes: The characters of all words [n].
            ends: Where the word that each is in ends [n].
        """
        import tensorflow as tf

        number, longest = tf.size(codes), self._pieces.longest

        def descend(depth: Any, at: Any, node: Any, cells: Any, pieces: Any) -> tuple[Any, ...]:
            node = self._pieces.below(node, tf.gather(codes, at + depth))
            at, node = tf.boolean_mask(at, node >= 0), tf.boolean_mask(node, node >= 0)
            piece = self._pieces.values(node)
            # A piece from ``at`` of ``depth + 1`` characters.
            cell = (at + depth + 1) * longest - depth - 1
            cells = tf.concat([cells, tf.boolean_mask(cell, piece >= 0)], 0)
            pieces = tf.concat([pieces, tf.boolean_mask(piece, piece >= 0)], 0)
            depth += 1
            goes_on = at + depth < tf.gather(ends, at)
            return depth, tf.boolean_mask(at, goes_on), tf.boolean_mask(node, goes_on), cells, pieces

        vector = tf.TensorSpec([None], tf.int32).shape
        nothing = tf.zeros([0], tf.int32)
        _, _, _, cells, pieces = tf.while_loop(
            lambda depth, at, *rest: tf.size(at) > 0,
            descend,
            (tf.constant(0), tf.range(number), tf.zeros_like(codes, tf.int64), nothing, nothing),
            shape_invariants=(tf.TensorSpec([], tf.int32).shape, *(vector,) * 4),
        )
        found = tf.fill([number * longest], self._no_piece)
        found = tf.reshape(tf.tensor_scatter_nd_update(found, cells[:, None], pieces), [number, longest])
        single = tf.where(found[:, -1:] == self._no_piece, self._no_piece - 1, found[:, -1:])
        return tf.concat([found[:, :-1], single], 1)

    def _best(self, pieces: Any, first: Any, ends: Any) -> Any:
        """The column of ``pieces`` that is best for the last piece up to each character [n]."""
        import tensorflow as tf

        longest = self._pieces.longest
        # Words that are not finished are in front.
        order = tf.argsort(first - ends)
        first, lengths = tf.gather(first, order), tf.gather(ends - first, order)
        number = tf.size(first)

        def advance(offset: Any, sums: Any, best: Any) -> tuple[Any, ...]:
            going_on = tf.math.count_nonzero(lengths > offset, dtype=tf.int32)
            at = first[:going_on] + offset
            sums = sums[:going_on]  # Up to each of the ``longest`` characters before.
            totals = sums + tf.gather(self._scores, tf.gather(pieces, at))
            largest = tf.reduce_max(totals, axis=1, keepdims=True)
            # Of equal ones the longest piece is taken.
            column = tf.reduce_min(tf.where(totals == largest, tf.range(longest), longest), axis=1)
            best = tf.tensor_scatter_nd_update(best, at[:, None], column)
            return offset + 1, tf.concat([sums[:, 1:], largest], 1), best

        sums = tf.tile(tf.constant([[*[-np.inf] * (longest - 1), 0.0]], tf.float64), [number, 1])
        return tf.while_loop(
            lambda offset, *rest: offset < tf.reduce_max(tf.concat([lengths, [0]], 0)),
            advance,
            (tf.constant(0), sums, tf.zeros([tf.shape(pieces)[0]], tf.int32)),
            shape_invariants=(
                tf.TensorSpec([], tf.int32).shape,
                tf.TensorSpec([None, longest], tf.float64).shape,
                tf.TensorSpec([None], tf.int32).shape,
            ),
        )[2]


def _backwards(pieces: Any, best: Any, first: Any, ends: Any) -> tuple[Any, Any]:
    """The pieces of the words, and where each starts, from the last ones on.

    Args:
        pieces: The pieces that end with each character.
        best: Which of them is taken, if it is the last.
        first: Where words begin.
        ends: Where they end.
    """
    import tensorflow as tf

    number, longest = tf.shape(pieces)[0], pieces.shape[1]
    chosen = tf.gather(pieces, best, batch_dims=1)

    def walk(at: Any, first: Any, found: Any) -> tuple[Any, ...]:
        start = at - (longest - 1 - tf.gather(best, at))
        found = tf.tensor_scatter_nd_update(found, start[:, None], tf.gather(chosen, at))
        goes_on = start > first
        return tf.boolean_mask(start - 1, goes_on), tf.boolean_mask(first, goes_on), found

    vector = tf.TensorSpec([None], tf.int32).shape
    found = tf.while_loop(
        lambda at, *rest: tf.size(at) > 0,
        walk,
        (ends - 1, first, tf.fill([number], -1)),
        shape_invariants=(vector,) * 3,
    )[2]
    starts = tf.cast(tf.where(found >= 0)[:, 0], tf.int32)
    return starts, tf.gather(found, starts)


class _Words:
    """Where words begin, and how spaces are written.

    Args:
        described: ``pre_tokenizer`` of a tokenizer's JSON.

    Raises:
        UnsupportedTokenizerError: It cannot be built.
    """

    def __init__(self, described: Mapping[str, Any] | None) -> None:
        described = described or {}
        steps = described["pretokenizers"] if described.get("type") == "Sequence" else [described]
        kinds = [step.get("type") for step in steps]
        if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
            names = " and ".join(kind or "no splitting" for kind in kinds)
            raise UnsupportedTokenizerError(f"it is of the kind Unigram with {names}")
        self._splits_at_white, self._scheme = len(kinds) > 1, steps[-1]["prepend_scheme"]
        if self._splits_at_white and self._scheme == "first":
            raise UnsupportedTokenizerError("it splits at white space and marks the first word only")
        self._mark, self._splits_at_marks = ord(steps[-1]["replacement"]), steps[-1]["split"]
        self._white = white_space()

    def __call__(self, flat: Flat) -> tuple[Flat, Any]:
        """The texts with marks for spaces, and whether a word begins at each code point."""
        import tensorflow as tf

        begins = begins_of(flat)
        if self._splits_at_white:
            is_white = self._white(flat.codes) == 1
            begins = tf.boolean_mask(begins | shift(is_white, -1, False), ~is_white)
            flat = flat.only(~is_white)
        codes, rows, number = flat
        codes = tf.where(codes == SPACE, self._mark, codes)
        if self._scheme != "never":
            is_marked = begins & (codes != self._mark) & (codes < ADDED)
            if self._scheme == "first":
                is_marked &= shift(rows, -1, -1) != rows
            (codes, rows, number), places, is_mark = insert_before(Flat(codes, rows, number), is_marked, self._mark)
            begins = tf.gather(begins, places) & ~shift(is_mark, -1, False)
        if self._splits_at_marks:
            begins |= codes == self._mark
        return Flat(codes, rows, number), begins
