"""An order whose batches have samples of about the same length, so that less is padded."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.index_shuffle import shuffled
from tf_hfwb.data.sample_order import Array, Order

if TYPE_CHECKING:
    import tensorflow as tf
    from typing_extensions import Self

LARGEST_GROUP = 50  # Steps. Of smaller data there are four groups at least, as far as it has four steps.


@dataclass(frozen=True, eq=False)
class LengthGroupedOrder(Order):
    """The shuffled order, cut into groups of up to 50 steps, each of which is sorted by length, longest first.

    The longest sample of all is in the first batch of each epoch, so that memory runs out at once or never. Each batch
    still depends on its step alone: finding it takes the sorting of one group.

    Attributes:
        lengths: The length of each sample (int32 [num_samples]).
        longest: The sample that is the longest.
        step_batches: The batches whose gradients make one step.

    Follows ``LengthGroupedSampler`` of transformers.
    """

    lengths: npt.NDArray[np.int32] = field(kw_only=True)
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
        return cls(
            len(lengths),
            batch_size,
            seed,
            drop_remainder,
            lengths=lengths.astype(np.int32),
            longest=int(lengths.argmax()),
            step_batches=step_batches,
        )

    @property
    def group_size(self) -> int:
        """Samples that are sorted together."""
        step_size = self.step_batches * self.batch_size
        return max(1, min(self.num_samples // (4 * step_size), LARGEST_GROUP)) * step_size

    def indices_of(self, step: int) -> Array:
        """The sample indices of one step; see the base class."""
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        start = first // self.group_size * self.group_size
        group = self._samples_at(np.arange(start, min(start + self.group_size, self.num_samples)), epoch)
        descending = np.argsort(-self.lengths[group], kind="stable")
        return group[descending[first - start : first - start + self.batch_size]]

    def _samples_at(self, places: Array, epoch: int) -> Array:
        """As :meth:`_samples`, in NumPy."""
        first = np.zeros(1, np.int64)
        samples = places
        if self.seed is not None:
            samples, first = (shuffled(each, self.seed, epoch, self.num_samples) for each in (places, first))
        samples = np.where(samples == self.longest, first, samples)
        return np.where(places == 0, self.longest, samples)

    @cached_property
    def _lengths_in_graph(self) -> tf.Tensor:
        """The lengths in the main memory, and not as a constant within a graph."""
        import tensorflow as tf

        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant(self.lengths)

    def indices(self, step: tf.Tensor) -> tf.Tensor:
        """The sample indices of one step as graph operations; see the base class."""
        import tensorflow as tf

        epoch, position = step // self.steps_per_epoch, step % self.steps_per_epoch
        first = position * self.batch_size
        start = first // self.group_size * self.group_size
        group = self._samples(tf.range(start, tf.minimum(start + self.group_size, self.num_samples)), epoch)
        descending = tf.argsort(tf.gather(self._lengths_in_graph, group), direction="DESCENDING", stable=True)
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
