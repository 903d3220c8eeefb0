"""The file in which the client keeps what a run has logged, read in part.

It is made of blocks of 32 KiB. A record is cut into pieces, none of which lies in two blocks, so that reading can begin
at any block: the rest of a record that began before is passed over. A file in another format has no records here.
"""

from __future__ import annotations

import collections
import glob
import os
import zlib
from collections.abc import Iterator

BLOCK = 32768
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


def read_records(path: str, first: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Read the records that begin in some blocks, as far as they are whole: a kill leaves half a record at the end.

    Args:
        path: The log.
        first: The first block, from 0.
        end: The block before which to stop; None for the end of the file.

    Raises:
        OSError: It cannot be read.
    """
    record: bytes | None = None
    with open(path, "rb") as file:
        place = first * BLOCK
        file.seek(place)
        if not place:
            place += len(file.read(_HEADER))
        while True:
            left = BLOCK - place % BLOCK
            if left < _HEADER:
                place += len(file.read(left))
            if record is None and end is not None and place >= end * BLOCK:
                return
            header = file.read(_HEADER)
            length, kind = int.from_bytes(header[4:6], "little"), header[6:]
            piece = file.read(length)
            if len(piece) < length or not kind or zlib.crc32(kind + piece) != int.from_bytes(header[:4], "little"):
                return
            place += _HEADER + length
            if kind[0] in (_WHOLE, _FIRST):
                record = piece
            elif record is not None:
                record += piece
            if record is not None and kind[0] in (_WHOLE, _LAST):
                yield record
                record = None


def last_record(path: str) -> bytes:
    """The last whole record, if it is a short one; empty without one.

    Raises:
        OSError: It cannot be read.
    """
    last = collections.deque(read_records(path, max(0, num_blocks(path) - 2)), maxlen=1)
    return last.pop() if last else b""
