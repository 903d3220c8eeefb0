"""An order whose batches have samples of about the same length, so that less is padded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tf_hfwb.data.sample_order import Order

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf
    from typing_extensions import Self

LARGEST_GROUP = 50  # Steps. Of smaller data there are four groups at least, as far as it has four steps.


@dataclass(frozen=True, eq=False)
class LengthGroupedOrder(Order):
    """The shuffled order, cut into groups of up to 50 steps, each of which is sorted by length, longest first.

    The longest sample of all is in the first batch of each epoch, so that memory runs out at once or never. Each batch
    still depends on its step alone: finding it takes the sorting of one group.

    Attributes:
        lengths: The length of each sample (int32 [num_samples]), in the main memory.
        longest: The sample that is the longest.
        step_batches: The batches whose gradients make one step.

    Follows ``LengthGroupedSampler`` of transformers.
    """

    lengths: tf.Tensor = field(kw_only=True)
    longest: int = field(kw_only=True)
    step_batches: int = field(default=1, kw_only=True)

    @classmethod
    def of(
        cls,
        lengths: npt.NDArray[Any],
        batch_size: int,
        seed: int | None,
        drop_remainder: bool,
        step_batches: int = 1,
    ) -> Self:
        """The order of samples that have these lengths; the other arguments are those of the base class."""
        import tensorflow as tf

        with tf.device("CPU:0"):
            tensor = tf.constant(lengths, tf.int32)
        longest = int(lengths.argmax())
        return cls(
            len(lengths), batch_size, seed, drop_remainder, lengths=tensor, longest=longest, step_batches=step_batches
        )

    @property
    def group_size(self) -> int:
        """Samples that are sorted together."""
        step_size = self.step_batches * self.batch_size
        return max(1, min(self.num_samples // (4 * step_size), LARGEST_GROUP)) * step_size

    def indices(self, step: tf.Tensor) -> tf.Tensor:
        """The sample indices of one step; see the base class."""
        import tensorflow as tf

        epoch, position = step // self.steps_per_epoch, step % self.steps_per_epoch
        first = position * self.batch_size
        start = first // self.group_size * self.group_size
        group = self._samples(tf.range(start, tf.minimum(start + self.group_size, self.num_samples)), epoch)
        descending = tf.argsort(tf.gather(self.lengths, group), direction="DESCENDING", stable=True)
        batch = tf.gather(group, descending[first - start : first - start + self.batch_size])
        is_always_full = self.steps_per_epoch * self.batch_size <= self.num_samples
        return tf.ensure_shape(batch, [self.batch_size]) if is_always_full else batch

    def _samples(self, places: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        """The samples at these places of the shuffled order, in which the longest has changed places with the first."""
        import tensorflow as tf

        longest = tf.constant(self.longest, tf.int64)
        first = tf.zeros([1], tf.int64)
        samples = places
        if self.seed is not None:
            samples, first = (self._shuffle(each, self.seed, epoch) for each in (places, first))
        samples = tf.where(samples == longest, first, samples)
        return tf.where(places == 0, longest, samples)
