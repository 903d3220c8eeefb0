"""Which batches of an epoch make which update."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchGroups:
    """The batches of each epoch in groups, of which each makes one update; the last one may be smaller.

    Attributes:
        size: The batches of a group.
        batches: The batches of an epoch; None where they are not known.

    Example:
        >>> groups = BatchGroups(size=2, batches=5)
        >>> groups.updates, [groups.batches_after(updates) for updates in range(4)]
        (3, [0, 2, 4, 5])

    Follows ``num_update_steps_per_epoch`` in ``Trainer`` of transformers.
    """

    size: int = 1
    batches: int | None = None

    @property
    def updates(self) -> int | None:
        """The updates of an epoch."""
        return None if self.batches is None else _ceil(self.batches, self.size)

    def batches_after(self, updates: int) -> int:
        """The batches of the first so many updates of an epoch."""
        reached = updates * self.size
        return reached if self.batches is None else min(reached, self.batches)

    def updates_before(self, batch: int) -> int:
        """The updates of an epoch in front of that batch, where the next group begins.

        They are counted from the end of the epoch, since the groups in front may have been of another size.
        """
        if self.updates is None or self.batches is None:
            return _ceil(batch, self.size)
        return self.updates - _ceil(self.batches - batch, self.size)

    def share_after(self, updates: int, updates_of_epoch: int) -> float:
        """The share of an epoch that so many updates are, in batches as far as they are known."""
        return updates / updates_of_epoch if self.batches is None else self.batches_after(updates) / self.batches


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
