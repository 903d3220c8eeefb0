"""A ``datasets.IterableDataset`` in blocks of rows, which can be entered at any block that was read before.

``state_dict`` of ``datasets`` promises to continue at the next row, but not behind a ``shuffle``, whose buffer it does
not keep. So each position has a digest of its block: where other rows come, the pass is read from its beginning.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.datasets_private import fixed_order_error, independent_reader
from tf_hfwb.data.stream_positions import StreamPosition, StreamPositions
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import datasets

Array = npt.NDArray[Any]

SHUFFLED_ROWS = 1000  # What IterableDataset.shuffle holds by default.

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class StreamOrder:
    """Which rows of a stream make up a batch.

    Attributes:
        batch_size: Rows in a batch.
        seed: Decides the order within each block; None for the stream's own order.
        drop_remainder: Leave out the last batch of a pass when it would be partial.
        passes: The passes over the data; None for endless ones.
    """

    batch_size: int
    seed: int | None = None
    drop_remainder: bool = False
    passes: int | None = 1

    @property
    def block_size(self) -> int:
        """The rows that are shuffled together: whole batches, so that each batch is found from its block alone."""
        return -(-SHUFFLED_ROWS // self.batch_size) * self.batch_size

    def num_batches(self, num_rows: int) -> int:
        """The batches of a block of so many rows."""
        full, rest = divmod(num_rows, self.batch_size)
        return full if self.drop_remainder or not rest else full + 1

    def permutation(self, position: StreamPosition, num_rows: int) -> Array:
        """The rows of a block in the order of the batches."""
        if self.seed is None:
            return np.arange(num_rows)
        sequence = np.random.SeedSequence([self.seed % 2**63, position.pass_number, position.block])
        return np.random.default_rng(sequence).permutation(num_rows)

    def pass_numbers(self, first: int) -> Iterator[int]:
        """The passes from one on."""
        return itertools.count(first) if self.passes is None else iter(range(first, self.passes))


@dataclass(frozen=True)
class Block:
    """Rows that were read together.

    Attributes:
        columns: A table, or a dict of columns in the user's format.
    """

    columns: Any

    def __len__(self) -> int:
        return len(self.columns if hasattr(self.columns, "take") else next(iter(self.columns.values())))

    def take(self, rows: Array) -> Any:
        """Some of them, as a table or as a list of dicts."""
        if hasattr(self.columns, "take"):
            return self.columns.take(rows)
        return [{name: values[row] for name, values in self.columns.items()} for row in rows.tolist()]

    def digest(self) -> str:
        """A digest of its size and of its first and last row."""
        from datasets.fingerprint import Hasher

        ends = self.take(np.array([0, len(self) - 1]))
        rows = ends.to_pylist() if hasattr(ends, "to_pylist") else ends
        return str(Hasher.hash([len(self), rows]))


def stream_rows(
    data: datasets.IterableDataset, order: StreamOrder, start: int, positions: StreamPositions
) -> Iterator[tuple[int, Any]]:
    """The number of each batch from ``start`` on, with its rows.

    Args:
        data: The stream; it may be read elsewhere meanwhile.
        order: Which rows make up a batch.
        start: Batches to leave out, counted over all passes.
        positions: Blocks that are known; others are added.

    Raises:
        DataError: A pass has no batch.
    """
    first = positions.before(start)
    number = first.batch
    for pass_number in order.pass_numbers(first.pass_number):
        begin = first if pass_number == first.pass_number else StreamPosition(pass_number, number, 0, number)
        for position, block in _blocks_from(data, order, begin):
            positions.add(position)
            number = position.batch + order.num_batches(len(block))
            if number <= start:
                continue
            rows = order.permutation(position, len(block))
            for batch in range(max(start, position.batch), number):
                place = (batch - position.batch) * order.batch_size
                yield batch, block.take(rows[place : place + order.batch_size])
        if number == begin.pass_start:
            raise DataError(
                f"The datasets.IterableDataset gave no batch in pass {pass_number}, of batch_size={order.batch_size}. "
                f"Expected at least one in each pass. Check its files and filters, or lower batch_size."
            )


def _blocks_from(
    data: datasets.IterableDataset, order: StreamOrder, begin: StreamPosition
) -> Iterator[tuple[StreamPosition, Block]]:
    """The blocks of a pass from one on; from the first one if it cannot be found again."""
    if begin.state is not None:
        blocks = _read(data, order, begin)
        reason = "other rows are there, as behind shuffle() or in other data"
        found = None
        try:
            found = next(blocks, None)
        except Exception as error:  # The state is of another stream or of another version.
            reason = f"{type(error).__name__}: {error}"
        if found is not None and found[0] == begin:
            yield found
            yield from blocks
            return
        _logger.warning(
            "Block %d of pass %d of a datasets.IterableDataset is not where it was (%s). Expected the state_dict of "
            "datasets to lead there. The pass is read again from its beginning; without shuffle() less is read, as "
            "rows are shuffled in any case.",
            begin.block,
            begin.pass_number,
            reason,
        )
    yield from _read(data, order, begin.beginning)


def _read(
    data: datasets.IterableDataset, order: StreamOrder, begin: StreamPosition
) -> Iterator[tuple[StreamPosition, Block]]:
    reader = independent_reader(data)
    reader.set_epoch(begin.pass_number)
    if begin.state is not None:
        reader.load_state_dict(dict(begin.state))
    number, batch, state = begin.block, begin.batch, begin.state
    for columns in _columns(reader, order.block_size):
        block = Block(columns)
        yield (
            StreamPosition(begin.pass_number, begin.pass_start, number, batch, state, block.digest()),
            block,
        )
        number, batch, state = number + 1, batch + order.num_batches(len(block)), _in_json(reader.state_dict())


def _columns(reader: datasets.IterableDataset, block_size: int) -> Iterator[Any]:
    blocks = iter(reader.iter(batch_size=block_size))
    try:
        first = next(blocks, None)
    except fixed_order_error():  # After skip() and take() a pass cannot have another order of files.
        reader.set_epoch(0)
        blocks = iter(reader.iter(batch_size=block_size))
        first = next(blocks, None)
    if first is not None:
        yield first
        yield from blocks


def _in_json(state: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads(json.dumps(state))
    except (TypeError, ValueError):  # Sources of others may keep anything.
        return None
    return found
