"""Strings as a tree of code points in the graph, to find which of them begin at a position of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Tree:
    """A tree for each of some vocabularies; the root of each is the node of its index.

    Args:
        vocabularies: A number, from 0 on, for each string.

    Attributes:
        children: A table from a node and a code point to the node below, which a SavedModel must hold on to.
        longest: The length of the longest string.
    """

    def __init__(self, *vocabularies: Mapping[str, int]) -> None:
        import tensorflow as tf

        children: dict[int, int] = {}
        values = [-1] * len(vocabularies)
        for root, strings in enumerate(vocabularies):
            for string, value in strings.items():
                if not string:
                    continue
                node = root
                for character in string:
                    key = node << 21 | ord(character)
                    node = children.setdefault(key, len(values))
                    if node == len(values):
                        values.append(-1)
                values[node] = value
        self.longest = max((len(string) for strings in vocabularies for string in strings), default=0)
        self._values = np.array(values, np.int32)
        below = np.array(list(children) or [-1], np.int64), np.array(list(children.values()) or [-1], np.int64)
        self.children = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(*below), -1)

    def below(self, node: Any, codes: Any) -> Any:
        """The node below each node (int64) by each code point; -1 where there is none, and below -1."""
        import tensorflow as tf

        return self.children.lookup(tf.where(node >= 0, node * 2**21 + tf.cast(codes, tf.int64), -1))

    def values(self, node: Any) -> Any:
        """The number of the string that ends at each node; -1 where none does."""
        import tensorflow as tf

        return tf.where(node >= 0, tf.gather(self._values, tf.maximum(node, 0)), -1)

    def longest_from(self, roots: Any, codes: Any, ends: Any) -> tuple[Any, Any]:
        """The longest string that starts at each code point: its number and its length, 0 where there is none.

        Args:
            roots: The root from which each code point descends (int64) [n].
            codes: The code points [n].
            ends: Where the part of the text that each is in ends [n].
        """
        import tensorflow as tf

        def descend(depth: Any, at: Any, node: Any, values: Any, lengths: Any) -> tuple[Any, ...]:
            node = self.below(node, tf.gather(codes, at + depth))
            at, node = tf.boolean_mask(at, node >= 0), tf.boolean_mask(node, node >= 0)
            depth += 1
            value = self.values(node)
            places = tf.boolean_mask(at, value >= 0)[:, None]
            values = tf.tensor_scatter_nd_update(values, places, tf.boolean_mask(value, value >= 0))
            lengths = tf.tensor_scatter_nd_update(lengths, places, tf.fill(tf.shape(places)[:1], depth))
            goes_on = at + depth < tf.gather(ends, at)
            return depth, tf.boolean_mask(at, goes_on), tf.boolean_mask(node, goes_on), values, lengths

        vector = tf.TensorSpec([None], tf.int32).shape
        start = tf.constant(0), tf.range(tf.size(codes)), roots, tf.zeros_like(codes), tf.zeros_like(codes)
        found = tf.while_loop(
            lambda depth, at, *rest: tf.size(at) > 0,
            descend,
            start,
            shape_invariants=(tf.TensorSpec([], tf.int32).shape, vector, vector, vector, vector),
        )
        return found[3], found[4]
