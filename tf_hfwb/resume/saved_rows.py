"""The rows of a training in its checkpoints.

The newest ones are in ``trainer_state.json``; those before them are in files of a thousand rows, or of thirty-two
thousand once there are so many. These files do not change from then on, so each checkpoint has them as links: it holds
all of the history, and costs the same however long that is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.errors import CorruptCheckpointError, NotACheckpointError
from tf_hfwb.tracking.row_log import BLOCK, InMemory, Piece, RowsSoFar, SavedPiece

LOG_HISTORY = "log_history"  # The folder of the rows of the run.
STATE_HISTORY = "state_history"  # The folder of those of a trainer's state, which have the names of transformers.

_MERGED = 32  # Files of a thousand rows become one.

_logger = logging.getLogger("tf_hfwb")


@dataclass
class RowFiles:
    """The files of rows in a draft.

    Attributes:
        rows: The rows.
        files: How many rows are in each file, oldest first.
    """

    rows: RowsSoFar
    files: dict[str, int] = field(default_factory=dict)
    _origins: list[tuple[Piece, ...]] = field(default_factory=list)

    def add(self, name: str, pieces: tuple[Piece, ...]) -> None:
        """Note a file that holds these pieces."""
        self.files[name] = sum(piece.rows for piece in pieces)
        self._origins.append(_origin(pieces))

    def note_commit(self, checkpoint: Checkpoint) -> None:
        """The draft is this checkpoint now: the next one takes the rows over from there."""
        files = zip(self.files.items(), self._origins, strict=True)
        saved = [SavedPiece(number, checkpoint, name, origin) for (name, number), origin in files]
        self.rows.log.note_saved(self.rows, saved)


def write_rows(draft: Draft, rows: RowsSoFar, folder: str) -> RowFiles:
    """Write all rows but the newest into files of that folder of a draft, or link their files.

    Rows in a checkpoint that somebody has damaged or removed are left out, with a warning.
    """
    written, first, lost = RowFiles(rows), 0, 0
    for pieces in _group(rows.pieces):
        number = sum(piece.rows for piece in pieces)
        name = f"{folder}/{first:09d}-{first + number - 1:09d}.jsonl"
        try:
            _write_file(draft, name, pieces)
        except (CorruptCheckpointError, NotACheckpointError):
            lost += number
            continue
        written.add(name, pieces)
        first += number
    if lost:
        _logger.warning(
            "%d rows of the history are in no checkpoint any more: the one that held them was removed or damaged. "
            "Expected it to stay until the next one was saved. What was logged to W&B is there.",
            lost,
        )
    return written


def _group(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, ...]]:
    """The pieces file by file."""
    small: list[Piece] = []
    for piece in pieces:
        if piece.rows > BLOCK:
            yield from ((one,) for one in small)
            yield (piece,)
            small = []
            continue
        small.append(piece)
        if len(small) == _MERGED:
            yield tuple(small)
            small = []
    yield from ((one,) for one in small)


def _write_file(draft: Draft, name: str, pieces: tuple[Piece, ...]) -> None:
    first = pieces[0]
    if len(pieces) == 1 and isinstance(first, SavedPiece):
        try:
            draft.reuse(name, first.checkpoint, first.name)
            return
        except (CorruptCheckpointError, NotACheckpointError):
            if not first.origin:
                raise
    with draft.open(name, is_needed=False) as file:
        for piece in pieces:
            file.write(piece.read())


def _origin(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Where pieces are besides the checkpoint; nowhere if that is so of one of them, and what is in memory may go."""
    origins = [piece.origin if isinstance(piece, SavedPiece) else (piece,) for piece in pieces]
    known = [piece for origin in origins for piece in origin]
    is_known = all(origins) and not any(isinstance(piece, InMemory) for piece in known)
    return tuple(known) if is_known else ()


def pieces_of(checkpoint: Checkpoint, files: Mapping[str, int]) -> list[SavedPiece]:
    """The rows in the files of a checkpoint.

    Args:
        checkpoint: The checkpoint.
        files: How many rows are in each, oldest first.
    """
    return [SavedPiece(number, checkpoint, name) for name, number in files.items()]
