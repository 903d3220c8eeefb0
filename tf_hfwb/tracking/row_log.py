"""All rows of a training, in order, in memory that does not grow with their number.

The newest ones are in memory. Every thousand of them go into a file without a name in the run's folder, which is gone
with the process. The rows of earlier processes stay where they are: in the checkpoint from which the training resumed,
and then in each that was saved since.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from tf_hfwb import json_text
from tf_hfwb.checkpoint.digests import sha256_of
from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CheckpointError, CorruptCheckpointError

BLOCK = 1000  # Rows that go into the file at a time.


def parse_row(line: str) -> dict[str, float]:
    """The numbers of a row that is a line of JSON.

    Example:
        >>> parse_row('{"train/loss": "NaN", "train/global_step": 5}')
        {'train/loss': nan, 'train/global_step': 5}
    """
    found = {name: json_text.number_of(value) for name, value in json.loads(line).items()}
    return {name: value for name, value in found.items() if value is not None}


class Piece(Protocol):
    """Some of the rows, one after the other."""

    @property
    def rows(self) -> int:
        """How many."""

    def read(self) -> bytes:
        """The rows, each a line of JSON.

        Raises:
            CheckpointError: They are in a checkpoint that is damaged or gone.
        """


@dataclass(frozen=True)
class InMemory:
    """Rows for which there is no room on the disk."""

    rows: int
    data: bytes

    def read(self) -> bytes:
        """The rows, each a line of JSON."""
        return self.data


@dataclass(frozen=True)
class Spilled:
    """Rows in the file of this process."""

    rows: int
    file: Spill
    offset: int
    size: int

    def read(self) -> bytes:
        """The rows, each a line of JSON."""
        return self.file.read(self.offset, self.size)


@dataclass(frozen=True)
class SavedPiece:
    """Rows in a file of a checkpoint.

    Attributes:
        rows: How many.
        checkpoint: The checkpoint.
        name: The name of the file.
        origin: Where else they are, should the checkpoint have gone; empty if nowhere.
    """

    rows: int
    checkpoint: Checkpoint
    name: str
    origin: tuple[Piece, ...] = ()

    def read(self) -> bytes:
        """The rows, each a line of JSON.

        Raises:
            CorruptCheckpointError: The file is damaged, and the rows are nowhere else.
            NotACheckpointError: The checkpoint has gone, and the rows are nowhere else.
        """
        try:
            return self._read_file()
        except CheckpointError:
            if not self.origin:
                raise
        return b"".join(piece.read() for piece in self.origin)

    def _read_file(self) -> bytes:
        path = self.checkpoint.path / self.name
        if self.name not in self.checkpoint.files:
            raise CorruptCheckpointError(f"{path} has gone: the manifest does not name it. Use another checkpoint.")
        with self.checkpoint.open_file(self.name) as file:
            data = file.readall()
        if sha256_of(data) != self.checkpoint.files[self.name].sha256:
            raise CorruptCheckpointError(
                f"{path} is damaged: its SHA-256 is not that of the manifest. Expected rows as they were saved. Use "
                f"another checkpoint, or copy this one again."
            )
        return data


class Spill:
    """A file without a name.

    Args:
        directory: Where it is made; None for the system's folder of temporary files.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, directory: str | None) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - open until the end
        self._size = 0
        self._lock = threading.Lock()

    def append(self, data: bytes) -> int:
        """Write at the end; returns where that begins.

        Raises:
            OSError: There is no room.
        """
        with self._lock:
            self._file.seek(self._size)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            place, self._size = self._size, self._size + len(data)
            return place

    def read(self, offset: int, size: int) -> bytes:
        """What was written there."""
        with self._lock:
            self._file.seek(offset)
            data = b""
            while len(data) < size and (more := self._file.read(size - len(data))):
                data += more
            return data


@dataclass(frozen=True)
class RowsSoFar:
    """The rows as they were at one moment.

    Attributes:
        pieces: All but the newest.
        newest: The newest, each a line of JSON.
        log: What they are of.
    """

    pieces: Sequence[Piece]
    newest: Sequence[str]
    log: RowLog

    def __iter__(self) -> Iterator[str]:
        """The rows from the oldest on, without those in a checkpoint that is damaged or gone."""
        for piece in self.pieces:
            yield from _lines_of(piece)
        yield from self.newest

    def newest_first(self) -> Iterator[list[str]]:
        """The rows in groups, the newest group first."""
        yield [*self.newest]
        for piece in reversed(self.pieces):
            yield _lines_of(piece)


class RowLog:
    """The rows of one training. Any thread may use it.

    Args:
        directory: Tells the folder for the file; None for that of temporary files.

    Example:
        >>> rows = RowLog(lambda: None)
        >>> rows.append('{"train/loss": 0.5, "train/global_step": 1}')
        >>> len(rows), list(rows)
        (1, ['{"train/loss": 0.5, "train/global_step": 1}'])
    """

    def __init__(self, directory: Callable[[], str | None]) -> None:
        self._directory = directory
        self._spill: Spill | None = None
        self._pieces: list[Piece] = []
        self._newest: list[str] = []
        self._lock = threading.RLock()

    def __len__(self) -> int:
        with self._lock:
            return sum(piece.rows for piece in self._pieces) + len(self._newest)

    def __iter__(self) -> Iterator[str]:
        """The rows from the oldest on, as far as they can be read."""
        yield from self.so_far()

    def append(self, line: str) -> None:
        """Add a row.

        Args:
            line: An object in JSON, without a line's end.
        """
        with self._lock:
            self._newest.append(json_text.line(line))
            if len(self._newest) >= BLOCK:
                data = "".join(f"{row}\n" for row in self._newest).encode()
                self._pieces.append(self._put(len(self._newest), data))
                self._newest = []

    def _put(self, rows: int, data: bytes) -> Piece:
        try:
            if self._spill is None:
                self._spill = Spill(self._existing_directory())
            return Spilled(rows, self._spill, self._spill.append(data), len(data))
        except OSError:  # A full disk, above all: what the checkpoints and the run lack is not to be lost, too.
            return InMemory(rows, data)

    def _existing_directory(self) -> str | None:
        directory = self._directory()
        return directory if directory is not None and os.path.isdir(directory) else None

    def so_far(self) -> RowsSoFar:
        """The rows as of now."""
        with self._lock:
            return RowsSoFar((*self._pieces,), (*self._newest,), self)

    def replace(self, newest: Iterable[str], pieces: Iterable[Piece] = ()) -> None:
        """Have these rows from now on.

        Args:
            newest: The last ones, each a line of JSON.
            pieces: Those before them.
        """
        with self._lock:
            self._pieces, self._newest = [*pieces], []
            for line in newest:
                self.append(line)

    def take_over(self, earlier: RowLog) -> None:
        """Have the rows of another log, and add to them."""
        now = earlier.so_far()
        self.replace(now.newest, now.pieces)

    def note_saved(self, before: RowsSoFar, saved: Sequence[SavedPiece]) -> None:
        """Rows lie in a checkpoint now.

        Args:
            before: The rows as they were taken for it.
            saved: What it holds in place of these pieces.
        """
        with self._lock:
            number = len(before.pieces)
            is_same = all(now is then for now, then in zip(self._pieces, before.pieces, strict=False))
            if is_same and len(self._pieces) >= number:  # Else another training has been resumed meanwhile.
                self._pieces[:number] = saved


def _lines_of(piece: Piece) -> list[str]:
    try:
        return piece.read().decode().splitlines()
    except (CheckpointError, ValueError):
        return []
