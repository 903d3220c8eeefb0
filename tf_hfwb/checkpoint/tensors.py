"""Files of tensors in the safetensors format, written in chunks.

The safetensors library writes a file in one go. We hash while writing, rest between chunks so that training can go on,
and sync; so the format, which is a JSON header and the raw buffers, is written here. Reading is the library's, but for
the 8-bit floats, which it does not give to NumPy.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tf_hfwb.errors import CorruptCheckpointError

CHUNK = 4 << 20

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
        metadata: Words about the file.

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


def digest_of(
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    pace: Callable[[int], None] | None = None,
) -> tuple[int, str]:
    """Size and SHA-256 of the file that would be written.

    Example:
        >>> digest_of({"x": np.zeros(2, np.float32)})[0]
        72
    """
    sha, size = hashlib.sha256(), 0
    for chunk in chunks(tensors, metadata):
        sha.update(chunk)
        size += chunk.nbytes
        if pace is not None:
            pace(chunk.nbytes)
    return size, sha.hexdigest()


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors of a file.

    Raises:
        CorruptCheckpointError: The file is missing, cut off or no safetensors file.
    """
    import ml_dtypes  # noqa: F401  NumPy learns bfloat16 and the 8-bit floats from it.
    import safetensors

    types = {word: name for name, word in _NAMES.items()}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # Checks the header and the file's length.
            names = set(file.keys())
            small = {name for name in names if file.get_slice(name).get_dtype().startswith("F8")}
            tensors = {name: file.get_tensor(name) for name in sorted(names - small)}
        if small:
            for name, entry in safetensors.deserialize(Path(path).read_bytes()):  # type: ignore[no-untyped-call]
                if name in small:
                    flat = np.frombuffer(entry["data"], np.dtype(types[entry["dtype"]]))
                    tensors[name] = flat.reshape(entry["shape"])
        return tensors
    except (OSError, safetensors.SafetensorError, KeyError, AttributeError) as error:
        raise CorruptCheckpointError(
            f"{path} cannot be read: {error}. Expected a whole safetensors file. Use another checkpoint."
        ) from error
