"""Which samples make up the batch of a step: a pure function of (seed, epoch, index), so no step depends on another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.index_shuffle import SMALLEST_BLOCK, shuffled
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The batches of every epoch, numbered by one flat stream of steps.

    Attributes:
        num_samples: Samples in one epoch, >= 1.
        batch_size: Samples in a batch, >= 1.
        seed: Decides the shuffled order of each epoch. None: the samples' own order.
        drop_remainder: Leave out the last batch of an epoch when it would be partial.
    """

    num_samples: int
    batch_size: int
    seed: int | None = None
    drop_remainder: bool = False

    def __post_init__(self) -> None:
        if self.drop_remainder and self.num_samples < self.batch_size:
            raise DataError(
                f"drop_remainder=True leaves no batch: there are {self.num_samples} samples and batch_size is "
                f"{self.batch_size}. Expected at least one full batch. Lower batch_size or set drop_remainder=False."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        full, rest = divmod(self.num_samples, self.batch_size)
        return full if self.drop_remainder or not rest else full + 1

    def step_numbers(self, start_step: int, num_epochs: int | None) -> Iterator[int]:
        """The step numbers from ``start_step`` on; endless when ``num_epochs`` is None."""
        return count(start_step) if num_epochs is None else iter(range(start_step, num_epochs * self.steps_per_epoch))

    def indices_of(self, step: int) -> Array:
        """The sample indices [batch] of one step, in NumPy."""
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        places = np.arange(first, min(first + self.batch_size, self.num_samples))
        return places if self.seed is None else shuffled(places, self.seed, epoch, self.num_samples)

    def steps(self, start_step: int, num_epochs: int | None) -> tf.data.Dataset:
        """The step numbers from ``start_step`` on (scalar int64); endless when ``num_epochs`` is None."""
        import tensorflow as tf

        if num_epochs is None:
            return tf.data.Dataset.counter(start_step)
        return tf.data.Dataset.range(start_step, num_epochs * self.steps_per_epoch)

    def indices(self, step: tf.Tensor) -> tf.Tensor:
        """The same as :meth:`indices_of` of a scalar int64 as graph operations (int64 [batch])."""
        import tensorflow as tf

        epoch, position = step // self.steps_per_epoch, step % self.steps_per_epoch
        size: int | tf.Tensor = self.batch_size
        if self.steps_per_epoch * self.batch_size > self.num_samples:
            size = tf.minimum(tf.constant(self.batch_size, tf.int64), self.num_samples - position * self.batch_size)
        indices = position * self.batch_size + tf.range(size, dtype=tf.int64)
        return indices if self.seed is None else self._shuffle(indices, self.seed, epoch)

    def _shuffle(self, indices: tf.Tensor, seed: int, epoch: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        # index_shuffle keeps only the low bits of its seed (8 of each word below 65,536 samples): with [seed, epoch]
        # as it stands, epoch 256 repeats epoch 0 and seed 256 repeats seed 0. So the pair is hashed first.
        pair = tf.stack([tf.constant(seed % 2**63, tf.int64), epoch])
        key = tf.random.stateless_uniform([2], pair, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
        last = self.num_samples - 1
        # TensorFlow takes a block too small for the last sample if its number is a power of 4 (of a size that is
        # shuffled in blocks that grow): it would come never, and another one twice. With one number more it does not.
        is_cut_off = last.bit_count() == 1 and last.bit_length() % 2 == 1 and last >= 2**SMALLEST_BLOCK
        largest = tf.constant(last + is_cut_off, tf.int64)
        samples = tf.random.experimental.index_shuffle(indices, seed=key, max_index=largest)
        if is_cut_off:
            again = tf.random.experimental.index_shuffle(samples, seed=key, max_index=largest)
            samples = tf.where(samples > last, again, samples)
        return samples
