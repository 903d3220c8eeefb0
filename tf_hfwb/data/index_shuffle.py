"""A shuffled order of which any part can be computed alone, in NumPy: that of TensorFlow's ``index_shuffle``.

A block cipher permutes the numbers of a few more bits than there are samples. A number that becomes one that is no
sample is enciphered again, until it is one (*cycle walking*). With the same seed TensorFlow gives the same order, so
that a training resumes where TensorFlow is not installed, and the other way round.

Source: TensorFlow's documentation of ``tf.random.experimental.index_shuffle`` and ``stateless_uniform``; Beaulieu et
al., "The Simon and Speck families of lightweight block ciphers" (2013); Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]

SMALLEST_BLOCK = 16  # Bits. As many numbers as that are permuted at once: few samples would take long walks.
_PAD_OF_SEED = 498247692  # TensorFlow puts it in front of a seed of two words.
_PHILOX_OF_SEED = (0x3EC8F720, 0x02461E29)  # The key by which TensorFlow turns a seed into a key and a counter.
_WORD = 2**32 - 1


def shuffled(places: Array, seed: int, epoch: int, num_samples: int) -> Array:
    """The samples at some places of the shuffled order of an epoch.

    Example:
        >>> shuffled(np.arange(5), seed=42, epoch=0, num_samples=5).tolist()
        [0, 1, 3, 4, 2]

    Args:
        places: Integers from 0 to ``num_samples - 1``, of any shape.
        seed: Decides the order, together with the epoch.
        epoch: The epoch, from 0.
        num_samples: Samples in the order, >= 1.
    """
    if num_samples <= 2**SMALLEST_BLOCK:
        return _whole_order(seed, epoch, num_samples)[places]
    cipher = _Cipher.of(seed, epoch, num_samples)
    found = cipher.encrypt(places)
    while (is_outside := found >= num_samples).any():
        found[is_outside] = cipher.encrypt(found[is_outside])
    return found


@functools.lru_cache(maxsize=8)
def _whole_order(seed: int, epoch: int, num_samples: int) -> Array:
    """The whole order of few samples. All walks are made at once, each time by twice as many steps."""
    jumps = _Cipher.of(seed, epoch, num_samples).encrypt(np.arange(2**SMALLEST_BLOCK))
    while (jumps[:num_samples] >= num_samples).any():
        jumps = np.where(jumps < num_samples, jumps, jumps[jumps])
    return jumps[:num_samples].copy()


class _Cipher:
    """Simon with four rounds, in blocks of any even number of bits.

    Args:
        keys: One for each round.
        bits: Of half a block.
    """

    def __init__(self, keys: list[int], bits: int) -> None:
        self._keys = keys
        self._bits = bits
        self._mask = 2**bits - 1

    @classmethod
    def of(cls, seed: int, epoch: int, num_samples: int) -> _Cipher:
        """The cipher of an epoch, whose blocks are wide enough for all samples."""
        size = (num_samples - 1).bit_length()
        bits = max(SMALLEST_BLOCK, size + size % 2) // 2
        mask = 2**bits - 1
        keys = [word & mask for word in (_PAD_OF_SEED, *_key_words(seed, epoch))]
        turned = [(keys[2] >> by | keys[2] << (bits - by)) & mask for by in (3, 4)]
        # The constants of Simon's schedule for the one key that is left to make.
        keys.append((0xFFFFFFFC & mask) ^ 1 ^ keys[0] ^ turned[0] ^ turned[1])
        return cls(keys, bits)

    def encrypt(self, numbers: Array) -> Array:
        """A permutation of the numbers of a block."""
        left, right = numbers >> self._bits, numbers & self._mask
        for first, second in (self._keys[:2], self._keys[2:]):
            left = left ^ self._mix(right) ^ first
            right = right ^ self._mix(left) ^ second
        return left << self._bits | right

    def _mix(self, word: Array) -> Array:
        return self._turn(word, 1) & self._turn(word, 8) ^ self._turn(word, 2)

    def _turn(self, word: Array, by: int) -> Array:
        return (word << by | word >> (self._bits - by)) & self._mask


def _key_words(seed: int, epoch: int) -> tuple[int, int]:
    """Two words of random bits: those of ``stateless_uniform`` for the seed of this pair."""
    pair = (seed % 2**63, epoch)
    words = _philox([word for number in pair for word in (number & _WORD, number >> 32)], _PHILOX_OF_SEED)
    found = _philox([0, 0, words[2], words[3]], (words[0], words[1]))
    return found[0], found[1]


def _philox(counter: list[int], key: tuple[int, int]) -> list[int]:
    """Philox with four words and ten rounds."""
    first, second = key
    for _ in range(10):
        low, high = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [high >> 32 ^ counter[1] ^ first, high & _WORD, low >> 32 ^ counter[3] ^ second, low & _WORD]
        first, second = (first + 0x9E3779B9) & _WORD, (second + 0xBB67AE85) & _WORD
    return counter
