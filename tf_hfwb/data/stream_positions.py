"""Where the blocks of a stream begin, so that a resumed training need not read what lies before."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEPT = 256  # Blocks; a pipeline is never that far ahead.


@dataclass(frozen=True)
class StreamPosition:
    """The beginning of a block of rows.

    Attributes:
        pass_number: The pass over the data, from 0.
        pass_start: The first batch of that pass, counted over all passes.
        block: The block of that pass, from 0.
        batch: Its first batch, counted over all passes.
        state: What ``IterableDataset.load_state_dict`` takes to begin there, in JSON; None at the beginning of a pass,
            and where a stream has no such state.
        digest: Tells whether a block has these rows.
    """

    pass_number: int = 0
    pass_start: int = 0
    block: int = 0
    batch: int = 0
    state: Mapping[str, Any] | None = None
    digest: str | None = None

    @property
    def beginning(self) -> StreamPosition:
        """The beginning of its pass."""
        return StreamPosition(self.pass_number, self.pass_start, 0, self.pass_start)


class StreamPositions:
    """The blocks that a pipeline has come to, which is a few batches ahead of the training.

    Args:
        known: Where an earlier pipeline came to.
    """

    def __init__(self, known: StreamPosition | None = None) -> None:
        self._positions = [] if known is None else [known]
        self._lock = threading.Lock()

    def add(self, position: StreamPosition) -> None:
        """A block begins; blocks come in their order, also where the data is read again."""
        with self._lock:
            earlier = [known for known in self._positions if known.batch < position.batch]
            self._positions = [*earlier, position][-KEPT:]

    def before(self, batch: int) -> StreamPosition:
        """The last block that begins with this batch or before it; the beginning of the stream if none is known."""
        with self._lock:
            return next((known for known in reversed(self._positions) if known.batch <= batch), StreamPosition())
