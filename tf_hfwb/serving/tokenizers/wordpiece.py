"""BERT's tokenizer in the graph: the same ids as the fast tokenizer's, for any text.

What becomes of each character (deleted, a space, a word of its own, other characters) is asked of the tokenizer. The
pieces of a word are found in a tree of the vocabulary, beginning at every character of it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.serving.tokenizers.code_points import (
    ADDED,
    DROPPED,
    KEPT,
    PROBED,
    SPACE,
    AddedTokens,
    Flat,
    Ranges,
    Replacements,
    bounds,
    shift,
    to_code_points,
    with_added_ids,
)
from tf_hfwb.serving.tokenizers.prefix_tree import Tree
from tf_hfwb.serving.tokenizers.unsupported import UnsupportedTokenizerError

_KEEP, _DELETE, _SPACE, _ALONE, _CHANGE = range(5)
_SEPARATOR = "0"  # Changes nothing beside it, and nothing else becomes one.


class WordPiece:
    """Turns texts into ids.

    Args:
        tokenizer: A tokenizer of the ``tokenizers`` library.
        described: Its JSON.

    Attributes:
        tables: What a SavedModel must hold on to.

    Raises:
        UnsupportedTokenizerError: An added token cannot be found in the graph as the tokenizer finds it.
    """

    def __init__(self, tokenizer: Any, described: Mapping[str, Any]) -> None:
        model = described["model"]
        # Some are found in the text as it is, the others after it is normalised.
        kinds: tuple[list[Mapping[str, Any]], ...] = [], []
        for token in described["added_tokens"]:
            kinds[token["normalized"]].append(token)
        self._characters = _Characters(tokenizer)
        normal = [{**token, "content": self._normal_word(tokenizer, token["content"])} for token in kinds[True]]
        self._added, self._added_late = AddedTokens(kinds[False]), AddedTokens(normal, len(kinds[False]))
        self._added_ids = np.concatenate([self._added.ids, self._added_late.ids])
        self._longest_word = model["max_input_chars_per_word"]
        self._unknown = model["vocab"][model["unk_token"]]
        prefix = model["continuing_subword_prefix"]
        continuing = {piece[len(prefix) :]: id for piece, id in model["vocab"].items() if piece.startswith(prefix)}
        self._pieces = Tree(model["vocab"], continuing)
        trees = self._pieces, self._added.tree, self._added_late.tree
        self.tables = [*(tree.children for tree in trees), self._characters.changes]

    def _normal_word(self, tokenizer: Any, content: str) -> str:
        """An added token as it stands in normalised texts, where it is found if it is of word characters only.

        Raises:
            UnsupportedTokenizerError: It is not, and the graph has no such text: it cuts at other characters at once.
        """
        normal = tokenizer.normalizer.normalize_str(content)
        if not normal or any(self._characters.is_apart(character) for character in normal):
            raise UnsupportedTokenizerError(
                f"its added token {content!r} is found in normalised text, which cannot be done with white space, "
                "punctuation or Chinese characters in it. Add it as AddedToken(..., normalized=False)"
            )
        return str(normal)

    def __call__(self, text: Any) -> Any:
        """The ids of each text [batch], ragged and without special tokens."""
        import tensorflow as tf

        flat = to_code_points(text)
        # No added token of this kind takes white space away.
        flat = self._added(flat, tf.zeros_like(flat.codes, tf.bool))
        flat, is_alone = self._characters(flat)
        codes, keep = self._added_late.found(flat, tf.zeros_like(flat.codes, tf.bool))
        is_alone = tf.boolean_mask(is_alone | (codes >= ADDED), keep)
        flat = Flat(codes, flat.rows, flat.number).only(keep)
        is_space = flat.codes == SPACE
        is_first = shift(flat.rows, -1, -1) != flat.rows
        begins = is_first | is_alone | shift(is_space, -1, True) | shift(is_alone, -1, True)
        begins = tf.boolean_mask(begins, ~is_space)
        flat = flat.only(~is_space)
        starts, ids = self._pieces_of(flat.codes, begins)
        chosen = tf.boolean_mask(with_added_ids(ids, flat.codes, self._added_ids), starts)
        rows = tf.boolean_mask(flat.rows, starts)
        return tf.RaggedTensor.from_value_rowids(chosen, rows, tf.cast(flat.number, tf.int64), validate=False)

    def _pieces_of(self, codes: Any, begins: Any) -> tuple[Any, Any]:
        """Whether a piece starts at each character, and its id.

        Args:
            codes: The characters of all words [n].
            begins: Whether a word begins there.
        """
        import tensorflow as tf

        first, ends = bounds(begins)
        words = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        roots = tf.where(begins, tf.constant(0, tf.int64), tf.constant(1, tf.int64))
        ids, lengths = self._pieces.longest_from(roots, codes, tf.gather(ends, words))
        is_fitting = ends - first <= self._longest_word

        def walk(at: Any, end: Any, reached: Any) -> tuple[Any, Any, Any]:
            reached = tf.tensor_scatter_nd_update(reached, at[:, None], tf.fill(tf.shape(at), True))
            length = tf.gather(lengths, at)
            goes_on = (length > 0) & (at + length < end)
            return tf.boolean_mask(at + length, goes_on), tf.boolean_mask(end, goes_on), reached

        vector = tf.TensorSpec([None], tf.int32).shape
        reached = tf.while_loop(
            lambda at, end, reached: tf.size(at) > 0,
            walk,
            (tf.boolean_mask(first, is_fitting), tf.boolean_mask(ends, is_fitting), tf.zeros_like(begins)),
            shape_invariants=(vector, vector, vector),
        )[2]
        # A word of which no piece is known somewhere is unknown as a whole.
        failed = tf.cast(reached & (lengths == 0), tf.int32)
        is_known = is_fitting & (tf.math.unsorted_segment_sum(failed, words, tf.size(first)) == 0)
        is_known = tf.gather(is_known, words)
        return tf.where(is_known, reached, begins), tf.where(is_known, ids, self._unknown)


class _Characters:
    """What normalisation makes of each character, and which are words of their own.

    Args:
        tokenizer: A tokenizer of the ``tokenizers`` library, with BERT's normalizer and pre-tokenizer.

    Attributes:
        changes: A table from a character to its row of replacements.
    """

    def __init__(self, tokenizer: Any) -> None:
        import tensorflow as tf

        probed = np.array([code for code in PROBED if code != ord(_SEPARATOR)])
        characters = [chr(code) for code in probed]
        joined = _SEPARATOR.join(characters)
        normalised = tokenizer.normalizer.normalize_str(joined).split(_SEPARATOR)
        is_space = np.ones(len(joined), bool)
        is_alone = np.zeros(len(joined), bool)
        for _, (start, end) in tokenizer.pre_tokenizer.pre_tokenize_str(joined):
            is_space[start:end] = False
            is_alone[start] = end - start == 1
        spaces = {character for character, flag in zip(characters, is_space[::2], strict=True) if flag}
        alone = {character for character, flag in zip(characters, is_alone[::2], strict=True) if flag}

        kinds, changed, replacements = [], [], []
        for character, result in zip(characters, normalised, strict=True):
            if result == character:
                kinds.append(_ALONE if character in alone else _SPACE if character in spaces else _KEEP)
            elif not result:
                kinds.append(_DELETE)
            elif result.strip() == "":
                kinds.append(_SPACE)
            elif result.strip() == character:
                kinds.append(_ALONE)
            else:
                kinds.append(_CHANGE)
                changed.append(ord(character))
                apart = (" " if c in spaces else f" {c} " if c in alone else c for c in result)
                replacements.append("".join(apart))
        kinds.insert(PROBED.index(ord(_SEPARATOR)), _KEEP)
        self._kinds = Ranges([*kinds])
        self._apart = {code for code, kind in zip(PROBED, kinds, strict=True) if kind in (_ALONE, _SPACE)}
        self._replacements = Replacements(replacements)
        # A table must have an entry: no code point is -2, and -1 stands for those that do not change.
        keys, values = tf.constant(changed or [-2], tf.int64), tf.range(len(changed) or 1, dtype=tf.int64)
        self.changes = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), KEPT)

    def is_apart(self, character: str) -> bool:
        """Whether a character is white space, or a word of its own."""
        return ord(character) in self._apart

    def __call__(self, flat: Flat) -> tuple[Flat, Any]:
        """The normalised texts, white space as spaces, and which characters are words of their own."""
        import tensorflow as tf

        kinds = tf.where(flat.codes >= ADDED, _ALONE, self._kinds(flat.codes))
        codes = tf.where(kinds == _SPACE, SPACE, flat.codes)
        which = tf.cast(self.changes.lookup(tf.where(kinds == _CHANGE, tf.cast(codes, tf.int64), -1)), tf.int32)
        which = tf.where(kinds == _DELETE, DROPPED, which)
        changed, lengths = self._replacements(Flat(codes, flat.rows, flat.number), which)
        return changed, tf.repeat(kinds == _ALONE, lengths)
