"""The file in which the client keeps what a run has logged, read in part.

It is made of blocks of 32 KiB. A record is cut into pieces, none of which lies in two blocks, so that reading can begin
at any block: the rest of a record that began before is passed over. A file in another format has no records here.
"""

from __future__ import annotations

import collections
import glob
import itertools
import os
import zlib
from collections.abc import Callable, Iterator

BLOCK = 32768
TORN = "it ends in the middle of a record"  # As after a kill.
_HEADER = 7  # Of a piece: four bytes of checksum, two of length, one of kind. That of the file is as long.
_WHOLE, _FIRST, _LAST = 1, 2, 4


def log_of(directory: str) -> str | None:
    """The log in a run's folder; None without one."""
    return next(iter(glob.glob(os.path.join(glob.escape(directory), "run-*.wandb"))), None)


def num_blocks(path: str) -> int:
    """How many blocks a log has, the last one perhaps in part.

    Raises:
        OSError: It cannot be read.
    """
    return -(-os.stat(path).st_size // BLOCK)


def read_records(
    path: str, first: int = 0, end: int | None = None, *, complain: Callable[[str], None] | None = None
) -> Iterator[bytes]:
    """Read the records that begin in some blocks, as far as they are whole: a kill leaves half a record at the end.

    Args:
        path: The log.
        first: The first block, from 0.
        end: The block before which to stop; None for the end of the file.
        complain: Gets what is wrong, each time, in words. Reading then continues in the block behind a damaged piece;
            without it, reading ends there.

    Raises:
        OSError: It cannot be read.
    """
    record: bytes | None = None
    with open(path, "rb") as file:
        file.seek(first * BLOCK)
        for number in itertools.count(first):
            block = file.read(BLOCK)
            place = 0 if number else _HEADER
            for kind, piece in _pieces(block, place):
                if record is None and end is not None and number >= end:
                    return
                place += _HEADER + len(piece)
                if kind in (_WHOLE, _FIRST):
                    record = piece
                elif record is not None:
                    record += piece
                if record is not None and kind in (_WHOLE, _LAST):
                    yield record
                    record = None
            is_last, left = len(block) < BLOCK, len(block) - place
            if complain is not None and is_last and (left > 0 or record is not None):
                complain(TORN)
            if is_last or (complain is None and left >= _HEADER):
                return
            if complain is not None and left >= _HEADER:
                complain(f"it is damaged at byte {number * BLOCK + place:,}")
                record = None


def _pieces(block: bytes, place: int) -> Iterator[tuple[int, bytes]]:
    """The kinds and contents of the pieces in a block from a place on, up to one that is damaged or cut."""
    while len(block) - place >= _HEADER:
        begin = place + _HEADER
        end = begin + (block[begin - 3] | block[begin - 2] << 8)
        checksum = int.from_bytes(block[place : place + 4], "little")
        if end > len(block) or zlib.crc32(block[begin - 1 : end]) != checksum:
            return
        yield block[begin - 1], block[begin:end]
        place = end


def last_record(path: str) -> bytes:
    """The last whole record, if it is a short one; empty without one.

    Raises:
        OSError: It cannot be read.
    """
    last = collections.deque(read_records(path, max(0, num_blocks(path) - 2)), maxlen=1)
    return last.pop() if last else b""
