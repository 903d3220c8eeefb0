"""What may be in a ``.keras`` archive that somebody else wrote."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

from tf_hfwb.errors import CorruptCheckpointError, TFHFWBError
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import open_hdf5

WEIGHTS = "model.weights.h5"

_CHUNK = 4 << 20
_MOST_ENTRIES = 10_000
_LARGEST_EXPANSION = 100  # Keras's own limit. It writes without compression; texts may be compressed by others.


def check_archive(path: str | os.PathLike[str]) -> None:
    """Refuse an archive that is damaged, claims more than it holds, names paths outside, or has unsafe weights.

    Args:
        path: The archive; its weights are checked as :func:`.check_hdf5` does.

    Raises:
        CorruptCheckpointError: It is refused, or cannot be read.
    """
    with _open(path) as archive:
        for entry in archive.infolist():
            _compare_digest(archive, entry)
        if WEIGHTS in archive.namelist():
            with _weights(archive, path):
                pass


@contextlib.contextmanager
def weights_of_archive(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The checked weights of an archive as an ``h5py.File``, without a copy in memory.

    Raises:
        CorruptCheckpointError: The archive or its weights are refused, or cannot be read.
    """
    with _open(path) as archive:
        _compare_digest(archive, archive.getinfo(WEIGHTS))
        with _weights(archive, path) as file:
            yield file


@contextlib.contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    try:
        if not pathlib.Path(path).is_file():
            raise ValueError("it is not a regular file")
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive, os.path.getsize(path))
            yield archive
    except TFHFWBError:
        raise
    except Exception as error:  # zipfile, zlib and struct have errors of many kinds for damage.
        raise CorruptCheckpointError(
            f"{os.fspath(path)} cannot be read: {error}. Expected a whole archive, as Keras's model.save(...) writes "
            "it. Save or copy the model again, or use another checkpoint."
        ) from error


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"it has {len(entries)} entries, more than {_MOST_ENTRIES}")
    seen: set[str] = set()
    for entry in entries:
        name = entry.orig_filename  # As it is in the file: zipfile ends a name at a NUL.
        parts = name.rstrip("/").split("/")
        if any(part in ("", ".", "..") for part in parts) or any(sign in name for sign in "\\:\0"):
            raise ValueError(f"it names a place outside, {name!r}")
        if name.lower() in seen:
            raise ValueError(f"it has two entries {name!r}")
        seen.add(name.lower())
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{name!r} is not a regular file")
        if entry.flag_bits & 1:
            raise ValueError(f"{name!r} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} is compressed in a way that Keras does not use")
        is_stored = entry.compress_type == zipfile.ZIP_STORED
        if entry.file_size > entry.compress_size * (1 if is_stored else _LARGEST_EXPANSION):
            raise ValueError(f"{name!r} claims {entry.file_size} bytes and has {entry.compress_size}")
    if sum(entry.compress_size for entry in entries) > size:
        raise ValueError(f"its entries claim more than its {size} bytes")


def _compare_digest(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read an entry from beginning to end, because zipfile compares its CRC only then."""
    with archive.open(entry) as file:
        while file.read(_CHUNK):
            pass


@contextlib.contextmanager
def _weights(archive: zipfile.ZipFile, path: str | os.PathLike[str]) -> Iterator[Any]:
    entry = archive.getinfo(WEIGHTS)
    if entry.compress_type != zipfile.ZIP_STORED:
        # Each seek of h5py's would decompress it again from the beginning.
        raise ValueError(f"{WEIGHTS} in it is compressed, which Keras does not do")
    with open(path, "rb") as raw, open_hdf5(_Part(raw, entry), f"{WEIGHTS} in {os.fspath(path)}") as file:
        yield file


class _Part(io.RawIOBase):
    """An uncompressed entry as a file that seeks without reading, as zipfile's own does not."""

    def __init__(self, raw: io.BufferedReader, entry: zipfile.ZipInfo) -> None:
        raw.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", raw.read(4))
        self._raw, self._size, self._at = raw, entry.file_size, 0
        self._start = entry.header_offset + 30 + name + extra

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._raw.seek(self._start + self._at)
        wanted = max(0, min(len(buffer), self._size - self._at))
        count = self._raw.readinto(memoryview(buffer)[:wanted])
        self._at += count
        return count
