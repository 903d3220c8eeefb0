"""SHA-256 digests of files and of contents that would become files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from typing import Any

CHUNK = 4 << 20  # Bytes that are read, written or hashed at a time.

# Called with a number of bytes that were processed; may rest. True: somebody waits, so hurry.
Pace = Callable[[int], bool | None]


def digest_of_file(file: io.FileIO, pace: Pace | None = None) -> tuple[int, str]:
    """The size of an open file and its SHA-256, hexadecimal."""
    return digest_of_chunks(iter(lambda: file.read(CHUNK), b""), pace)


def digest_of_chunks(chunks: Iterable[Any], pace: Pace | None = None) -> tuple[int, str]:
    """The size of a content and its SHA-256, hexadecimal.

    Args:
        chunks: Its pieces, of any length, as ``bytes`` or anything with their buffer.
        pace: Called after every 4 MiB or so.

    Example:
        >>> digest_of_chunks([b"ab", b"c"])[0]
        3
    """
    sha, size, unpaced = hashlib.sha256(), 0, 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        for start in range(0, len(view), CHUNK):
            piece = view[start : start + CHUNK]
            sha.update(piece)
            size += len(piece)
            unpaced += len(piece)
            if pace is not None and unpaced >= CHUNK:
                pace(unpaced)
                unpaced = 0
    return size, sha.hexdigest()


def sha256_of(content: bytes) -> str:
    """The SHA-256 of some bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()
