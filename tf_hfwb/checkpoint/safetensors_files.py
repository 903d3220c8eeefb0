"""Files of tensors in the safetensors format, written in chunks.

The safetensors library writes a file in one go. Here a file is hashed while it is written, with rests between chunks so
that they do not slow down training, and synced. So the format, a JSON header and raw buffers, is written here. It is
read here, too, because the library does not give 8-bit floats to NumPy, and to have one error for whatever is wrong.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tf_hfwb import json_text
from tf_hfwb.checkpoint.digests import CHUNK
from tf_hfwb.errors import CorruptCheckpointError

_LARGEST_HEADER = 100_000_000  # In bytes; the format's own limit.
_MOST_DIMENSIONS = 64  # NumPy's.

_NAMES = {
    "bool": "BOOL",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


def chunks(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> Iterator[memoryview]:
    """The bytes of the file, in pieces of at most 4 MiB.

    Args:
        tensors: Arrays of any shape and order, by name; they are written in this order.
        metadata: Facts about the file.

    Raises:
        TypeError: A tensor has a type that the format does not know.
        ValueError: A tensor has the name that the format keeps for ``metadata``.
    """
    if "__metadata__" in tensors:
        raise ValueError("A tensor is called '__metadata__'. Expected any other name. Rename it.")
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, value in tensors.items():
        if value.dtype.name not in _NAMES:
            raise TypeError(f"{name} has the type {value.dtype}. Expected one of {', '.join(_NAMES)}. Cast it first.")
        end = offset + value.nbytes
        header[name] = {"dtype": _NAMES[value.dtype.name], "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield memoryview(struct.pack("<Q", len(text)) + text)
    for value in tensors.values():
        yield from _pieces(value)


def _pieces(value: np.ndarray) -> Iterator[memoryview]:
    if value.dtype.newbyteorder("<") != value.dtype:
        value = value.astype(value.dtype.newbyteorder("<"))
    # Flat bytes: a memoryview cannot show the types of ml_dtypes.
    flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    for start in range(0, len(flat), CHUNK):
        yield flat[start : start + CHUNK].data


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors of a file.

    Raises:
        CorruptCheckpointError: The file is missing, cut off or not a safetensors file. No memory of the size that it
            claims has been allocated then.
    """
    import ml_dtypes  # noqa: F401  It teaches NumPy bfloat16 and the 8-bit floats.

    try:
        with open(path, "rb") as file:
            begin, entries = _header(file, os.fstat(file.fileno()).st_size)
            tensors = {}
            for name, (dtype, shape, offset) in entries.items():
                file.seek(begin + offset)
                tensors[name] = np.fromfile(file, dtype, math.prod(shape)).reshape(shape)
        return {name: tensors[name] for name in sorted(tensors)}
    except (OSError, ValueError, OverflowError) as error:
        raise CorruptCheckpointError(
            f"{path} cannot be read: {error}. Expected a whole safetensors file. Use another checkpoint."
        ) from error


def _header(file: BinaryIO, size: int) -> tuple[int, dict[str, tuple[np.dtype[Any], list[int], int]]]:
    """Where the tensors begin, and the type, the shape and the offset from there of each.

    Raises:
        ValueError: The header cannot be understood, or the tensors do not fill the file without gaps.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(_LARGEST_HEADER, size - 8):
        raise ValueError(f"its header claims {length} bytes, and it has {size}")
    described = json_text.loads(file.read(length))
    if not isinstance(described, dict):
        raise ValueError("its header is no object")
    described.pop("__metadata__", None)
    types = {word: np.dtype(name) for name, word in _NAMES.items()}
    entries, ranges = {}, []
    for name, entry in described.items():
        match entry:
            case {"dtype": str(word), "shape": [*shape], "data_offsets": [int(first), int(last)]} if (
                word in types and len(shape) <= _MOST_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)
            ):
                claimed = math.prod(shape) * types[word].itemsize
            case _:
                raise ValueError(f"{name!r} is described as {reprlib.repr(entry)}")
        if last - first != claimed:
            raise ValueError(f"{name!r} has {claimed} bytes by its shape, and {last - first} by its place")
        entries[name] = types[word], shape, first
        ranges.append((first, last))
    end = 0
    for first, last in sorted(ranges):
        if first != end:
            raise ValueError(f"its tensors overlap, or leave a gap, at {first}")
        end = last
    if 8 + length + end != size:
        raise ValueError(f"its tensors claim {end} bytes, and it has {size - 8 - length} for them")
    return 8 + length, entries
