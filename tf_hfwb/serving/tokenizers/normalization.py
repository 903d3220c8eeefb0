"""The normalizers of SentencePiece's tokenizers in the graph, step by step as the ``tokenizers`` library runs them.

Each step sees the stretches of text between added tokens.
"""

from __future__ import annotations

import base64
import itertools
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.serving.tokenizers.code_points import (
    ADDED,
    DROPPED,
    KEPT,
    PROBED,
    SPACE,
    Flat,
    Ranges,
    Replacements,
    begins_of,
    bounds,
    every_other,
    octets_of,
    shift,
    taken_by,
)
from tf_hfwb.serving.tokenizers.prefix_tree import Tree
from tf_hfwb.serving.tokenizers.unsupported import UnsupportedTokenizerError

# Steps that change each character whatever stands beside it. Decomposing puts accents in order, too, which is no matter
# if they are taken away.
_OF_CHARACTERS = ("Lowercase", "StripAccents", "NFD", "NFKD")
_SEPARATOR = "\0"  # The first that is probed. Changes nothing beside it, and nothing becomes one.
_LONGEST_CLUSTER = 5  # In bytes; of longer ones the library looks characters up one by one.


class Normalizer:
    """Normalises texts.

    Args:
        described: ``normalizer`` of a tokenizer's JSON.

    Attributes:
        tables: What a SavedModel must hold on to.

    Raises:
        UnsupportedTokenizerError: A step of it cannot be built.
    """

    def __init__(self, described: Mapping[str, Any] | None) -> None:
        self.tables: list[Any] = []
        self._steps: list[Callable[[Flat], Flat]] = []
        flattened = _flatten(described) if described else []
        for is_of_characters, group in itertools.groupby(flattened, lambda step: step["type"] in _OF_CHARACTERS):
            if is_of_characters:
                self._add(_Characters(list(group)))
            else:
                for step in group:
                    self._add(_step(step))

    def _add(self, step: Any) -> None:
        self._steps.append(step)
        self.tables += getattr(step, "tables", [])

    def __call__(self, flat: Flat) -> Flat:
        """The normalised texts."""
        for step in self._steps:
            flat = step(flat)
        return flat


def white_space() -> Ranges:
    """Whether a code point is white space to the ``tokenizers`` library: 1 or 0."""
    from tokenizers import pre_tokenizers

    return Ranges(taken_by(pre_tokenizers.WhitespaceSplit()))


def _flatten(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if described["type"] != "Sequence":
        return [described]
    return [step for part in described["normalizers"] for step in _flatten(part)]


def _step(described: Mapping[str, Any]) -> Any:
    """A step that looks at more than one character."""
    kind, pattern = described["type"], described.get("pattern", {})
    if kind == "Precompiled":
        return _CharacterMap(base64.b64decode(described["precompiled_charsmap"]))
    if kind == "Strip":
        return _Strip(is_left=described["strip_left"], is_right=described["strip_right"])
    if kind == "Replace" and pattern == {"Regex": " {2,}"}:
        return _Spaces(described["content"])
    if kind == "Replace" and len(pattern.get("String", "")) in (1, 2):
        return _Phrase(pattern["String"], described["content"])
    raise UnsupportedTokenizerError(f"its normalizer has the step {kind}{f' of {pattern}' if pattern else ''}")


class _Characters:
    """Several steps that change each character regardless of its neighbours, as one step."""

    def __init__(self, described: Sequence[Mapping[str, Any]]) -> None:
        import tokenizers

        kinds = [step["type"] for step in described]
        for kind, following in itertools.zip_longest(kinds, kinds[1:]):
            if kind in ("NFD", "NFKD") and following != "StripAccents":
                raise UnsupportedTokenizerError(f"its normalizer has the step {kind} and keeps accents")
        step = tokenizers.normalizers.Sequence([getattr(tokenizers.normalizers, kind)() for kind in kinds])
        characters = [chr(code) for code in PROBED[1:]]
        results = step.normalize_str(_SEPARATOR.join(characters)).split(_SEPARATOR)
        changed = {old: new for old, new in zip(characters, results, strict=True) if old != new}
        self._changes = Tree({character: row for row, character in enumerate(changed)})
        self._replacements = Replacements(list(changed.values()))
        self.tables = [self._changes.children]

    def __call__(self, flat: Flat) -> Flat:
        import tensorflow as tf

        root = tf.zeros_like(flat.codes, tf.int64)
        return self._replacements(flat, self._changes.values(self._changes.below(root, flat.codes)))[0]


class _CharacterMap:
    """SentencePiece's map of characters, as the ``tokenizers`` library uses it.

    A cluster, a character with what is combined with it, of up to five bytes gives way as a whole if the map has any
    beginning of it; the shortest counts. In other clusters each character that the map has gives way.

    Args:
        charsmap: The map as SentencePiece stores it.
    """

    def __init__(self, charsmap: bytes) -> None:
        entries = _entries(charsmap)
        reachable = {
            key: value
            for key, value in entries.items()
            if not any(key[:end] in entries for end in range(1, len(key)))
            and (len(key) == 1 or len(key.encode()) <= _LONGEST_CLUSTER)
        }
        self._keys = Tree({key: row for row, key in enumerate(reachable)})
        self._replacements = Replacements(list(reachable.values()))
        self._clusters = _Clusters(self._with_accents([key for key in entries if len(key) == 1], charsmap))
        self.tables = [self._keys.children]

    @staticmethod
    def _with_accents(characters: Sequence[str], charsmap: bytes) -> set[str]:
        """Those that an accent is combined with, by what the library makes of them."""
        from tokenizers import normalizers

        step = normalizers.Precompiled(charsmap)
        return {
            character for character in characters if not step.normalize_str(f"{character}\u0301").endswith("\u0301")
        }

    def __call__(self, flat: Flat) -> Flat:
        import tensorflow as tf

        node = self._keys.below(tf.zeros_like(flat.codes, tf.int64), flat.codes)
        which = self._keys.values(node)
        starts, ends = self._clusters(flat)
        # The first character of a cluster is looked up as it is; where it is no key, it may begin a longer one.
        at, node, found = starts, tf.gather(node, starts), tf.gather(which, starts)
        for _ in range(1, min(self._keys.longest, _LONGEST_CLUSTER)):
            at += 1
            is_inside = at < ends
            node = tf.where(is_inside, self._keys.below(node, tf.gather(flat.codes, tf.where(is_inside, at, 0))), -1)
            found = tf.maximum(found, self._keys.values(node))
        starts, ends, found = (tf.boolean_mask(values, found >= 0) for values in (starts, ends, found))
        places = tf.ragged.range(starts, ends).values[:, None]
        which = tf.tensor_scatter_nd_update(which, places, tf.fill(tf.shape(places)[:1], DROPPED))
        which = tf.tensor_scatter_nd_update(which, starts[:, None], found)
        return self._replacements(flat, which)[0]


class _Clusters:
    """Where characters are combined with those before them.

    Emoji that are joined and syllables of several letters are not: each letter is long enough to make the cluster
    longer than what is looked up as a whole.

    Args:
        with_accents: Characters that an accent is combined with although they control something.
    """

    def __init__(self, with_accents: set[str]) -> None:
        from tokenizers import normalizers

        step = normalizers.Precompiled(_map_of_a_to_b())
        characters = [chr(code) for code in PROBED[1:]]

        def probed(form: str) -> list[str]:
            return step.normalize_str(_SEPARATOR.join(form.format(c) for c in characters)).split(_SEPARATOR)

        # What is combined with "a" vanishes with it, and an accent does not if its "a" is combined with what is before.
        # The separator, the first of them, is combined with nothing.
        joins_left = [False, *(result == "b" for result in probed("a{}"))]
        joins_right = [False, *(result.endswith("\u0301") for result in probed("{}a\u0301"))]
        categories = ("Cc", "Cf", "Zl", "Zp")
        is_control = [
            unicodedata.category(chr(code)) in categories and chr(code) not in with_accents and not (left or right)
            for code, left, right in zip(PROBED, joins_left, joins_right, strict=True)
        ]
        self._joins_left, self._joins_right, self._is_control = map(Ranges, (joins_left, joins_right, is_control))

    def __call__(self, flat: Flat) -> tuple[Any, Any]:
        """Where clusters of several characters that are looked up as a whole start, and where they end."""
        import tensorflow as tf

        codes = flat.codes
        is_control = self._is_control(codes) == 1
        before, is_control_before = shift(codes, -1, -1), shift(is_control, -1, True)
        is_joined = (self._joins_left(codes) == 1) & ~is_control_before
        is_joined |= shift(self._joins_right(codes) == 1, -1, False) & ~is_control
        is_joined |= (codes == ord("\n")) & (before == ord("\r"))
        starts, ends = bounds(begins_of(flat) | ~is_joined)
        until = tf.concat([[0], tf.cumsum(octets_of(codes))], 0)
        is_short = (ends - starts > 1) & (tf.gather(until, ends) - tf.gather(until, starts) <= _LONGEST_CLUSTER)
        return tf.boolean_mask(starts, is_short), tf.boolean_mask(ends, is_short)


def _entries(charsmap: bytes) -> dict[str, str]:
    """Read the map of SentencePiece: a double-array trie of the keys, then their replacements, each ended by NUL."""
    size = int.from_bytes(charsmap[:4], "little")
    units = np.frombuffer(charsmap[4 : 4 + size], "<u4").astype(np.int64)
    texts = charsmap[4 + size :]
    offsets = (units >> 10) << ((units & 0x200) >> 6)
    octets = np.arange(1, 256)
    entries: dict[str, str] = {}
    level = [(b"", int(offsets[0]))]
    while level:
        below = []
        for prefix, base in level:
            places = base ^ octets
            is_child = (units[places % len(units)] & 0x800000FF) == octets
            for octet in octets[is_child & (places < len(units))].tolist():
                unit = base ^ octet
                key, child = prefix + bytes([octet]), unit ^ int(offsets[unit])
                if units[unit] & 0x100:
                    start = int(units[child]) & 0x7FFFFFFF
                    entries[key.decode()] = texts[start : texts.index(0, start)].decode()
                below.append((key, child))
        level = below
    return entries


def _map_of_a_to_b() -> bytes:
    """A map of SentencePiece with one entry."""
    units = np.zeros(512, "<u4")
    units[0] = 256 << 10  # The root's children are at 256 ^ byte,
    units[256 ^ ord("a")] = 1 << 10 | 1 << 8 | ord("a")  # and this one's text is where the unit beside it says: at 0.
    units[256 ^ ord("a") ^ 1] = 1 << 31
    return len(units.tobytes()).to_bytes(4, "little") + units.tobytes() + b"b\0"


class _Strip:
    """Removes the white space at the ends."""

    def __init__(self, *, is_left: bool, is_right: bool) -> None:
        self._is_left, self._is_right = is_left, is_right
        self._white = white_space()

    def __call__(self, flat: Flat) -> Flat:
        import tensorflow as tf

        stretches = tf.cumsum(tf.cast(begins_of(flat), tf.int32)) - 1
        number = tf.reduce_max(tf.concat([stretches, [-1]], 0)) + 1
        places = tf.range(tf.size(flat.codes))
        is_black = (flat.codes >= ADDED) | (self._white(flat.codes) == 0)
        keep = tf.fill(tf.shape(places), True)
        if self._is_left:
            first = tf.math.unsorted_segment_min(tf.where(is_black, places, places.dtype.max), stretches, number)
            keep &= places >= tf.gather(first, stretches)
        if self._is_right:
            last = tf.math.unsorted_segment_max(tf.where(is_black, places, -1), stretches, number)
            keep &= places <= tf.gather(last, stretches)
        return flat.only(keep)


class _Spaces:
    """Replaces each run of two or more spaces."""

    def __init__(self, content: str) -> None:
        self._replacements = Replacements([content])

    def __call__(self, flat: Flat) -> Flat:
        import tensorflow as tf

        is_space = flat.codes == SPACE
        goes_on = is_space & shift(is_space, -1, False) & ~begins_of(flat)
        is_first = is_space & ~goes_on & shift(goes_on, 1, False)
        return self._replacements(flat, tf.where(is_first, 0, tf.where(goes_on, DROPPED, KEPT)))[0]


class _Phrase:
    """Replaces one or two characters."""

    def __init__(self, phrase: str, content: str) -> None:
        self._codes = [ord(character) for character in phrase]
        self._replacements = Replacements([content])

    def __call__(self, flat: Flat) -> Flat:
        import tensorflow as tf

        is_here, is_second = flat.codes == self._codes[0], tf.zeros_like(flat.codes, tf.bool)
        if len(self._codes) == 2:
            is_next = (flat.codes == self._codes[1]) & ~begins_of(flat)
            is_here = every_other(is_here & shift(is_next, 1, False))
            is_second = shift(is_here, -1, False)
        return self._replacements(flat, tf.where(is_here, 0, tf.where(is_second, DROPPED, KEPT)))[0]
