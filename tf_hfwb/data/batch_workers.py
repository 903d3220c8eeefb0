"""The threads that make batches while the training takes others."""

from __future__ import annotations

from dataclasses import dataclass

BUFFERED = 2  # Batches in advance of each thread, as PyTorch's DataLoader makes them.


@dataclass(frozen=True)
class BatchWorkers:
    """What makes batches in advance.

    Attributes:
        threads: Those that run a Python collator; None for a single one.
        buffer: Batches that are made in advance; None for the default.
    """

    threads: int | None
    buffer: int | None

    @classmethod
    def of(cls, num_workers: int, prefetch_factor: int | None) -> BatchWorkers:
        """Those that were asked for; 0 for none of their own."""
        if prefetch_factor is None:
            return cls(num_workers or None, None)
        return cls(num_workers or None, max(1, num_workers) * prefetch_factor)
