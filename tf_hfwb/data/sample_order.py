"""Which samples make up the batch of a step: a pure function of (seed, epoch, index), so no step depends on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


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

    def steps(self, start_step: int, num_epochs: int | None) -> tf.data.Dataset:
        """The step numbers from ``start_step`` on (scalar int64); endless when ``num_epochs`` is None."""
        import tensorflow as tf

        if num_epochs is None:
            return tf.data.Dataset.counter(start_step)
        return tf.data.Dataset.range(start_step, num_epochs * self.steps_per_epoch)

    def indices(self, step: tf.Tensor) -> tf.Tensor:
        """The sample indices (int64 [batch]) of one step (scalar int64), as graph operations."""
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
        last = tf.constant(self.num_samples - 1, tf.int64)
        return tf.random.experimental.index_shuffle(indices, seed=key, max_index=last)
