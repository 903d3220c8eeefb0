"""The safetensors files: read by the safetensors library, and the library's by us."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tf_hfwb.checkpoint.digests import CHUNK, digest_of_chunks
from tf_hfwb.checkpoint.safetensors_files import chunks, read_tensors
from tf_hfwb.errors import CorruptCheckpointError

pytestmark = pytest.mark.core

LIBRARY = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "bfloat16"),
]
SMALL = ["float8_e4m3fn", "float8_e5m2"]


def written(path, tensors, metadata=None):
    path.write_bytes(b"".join(chunks(tensors, metadata)))
    return path


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype.newbyteorder("="), name
        assert found[name].shape == value.shape, name
        assert found[name].tobytes() == value.astype(value.dtype.newbyteorder("<")).tobytes(), name


def every_type(names):
    numbers = np.arange(24).reshape(2, 3, 4)
    return {name: (numbers % 2 if name == "bool" else numbers).astype(np.dtype(name)) for name in names}


ODD = {
    "0-d": np.float32(7) + np.zeros((), np.float32),
    "0-d bfloat16": np.array(1.5, ml_dtypes.bfloat16),
    "empty": np.zeros((0, 3), np.int64),
    "empty inside": np.zeros((2, 0, 3), np.float16),
    "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "every second": np.arange(12, dtype=np.int32)[::2],
    "reversed": np.arange(12, dtype=np.uint8)[::-1],
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big endian": np.arange(5, dtype=">f4"),
    "big endian 0-d": np.array(258, ">i2"),
    "broadcast": np.broadcast_to(np.float64(3), (4, 2)),
    "größe/重み": np.ones(1, bool),
}


def test_the_library_reads_what_we_write(tmp_path):
    tensors = every_type(LIBRARY) | ODD
    assert_same(safetensors.numpy.load_file(written(tmp_path / "file", tensors)), tensors)


def test_we_read_what_the_library_writes(tmp_path):
    tensors = {name: np.ascontiguousarray(value) for name, value in every_type(LIBRARY + SMALL).items()}
    safetensors.numpy.save_file(tensors, tmp_path / "file", {"format": "np"})
    assert_same(read_tensors(tmp_path / "file"), tensors)


def test_we_read_what_we_write(tmp_path):
    tensors = every_type(LIBRARY + SMALL) | ODD
    found = read_tensors(written(tmp_path / "file", tensors))
    assert_same(found, tensors)
    for value in found.values():
        value[...] = 0  # They are the caller's own.
    assert read_tensors(written(tmp_path / "none", {})) == {}


def test_the_layout_is_the_documented_one(tmp_path):
    tensors = {"b": np.arange(3, dtype=np.float32), "a": np.array(True)}
    data = written(tmp_path / "file", tensors, {"format": "tf"}).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    assert list(json.loads(data[8 : 8 + length]).items()) == [
        ("__metadata__", {"format": "tf"}),
        ("b", {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}),
        ("a", {"dtype": "BOOL", "shape": [], "data_offsets": [12, 13]}),
    ]
    assert data[8 + length :] == tensors["b"].tobytes() + b"\1"
    with safetensors.safe_open(tmp_path / "file", framework="np") as file:
        assert file.metadata() == {"format": "tf"}


def test_the_same_tensors_give_the_same_bytes_and_the_digest_without_writing(tmp_path):
    tensors = every_type(LIBRARY + SMALL) | ODD
    data = written(tmp_path / "file", tensors, {"format": "tf"}).read_bytes()
    copies = {name: np.array(value, order="F") for name, value in tensors.items()}
    assert written(tmp_path / "again", copies, {"format": "tf"}).read_bytes() == data
    assert digest_of_chunks(chunks(tensors, {"format": "tf"})) == (len(data), hashlib.sha256(data).hexdigest())
    other_order = chunks(dict(reversed(tensors.items())), {"format": "tf"})
    assert digest_of_chunks(other_order)[1] != hashlib.sha256(data).hexdigest()


def test_large_tensors_come_in_chunks(tmp_path):
    tensors = {"large": np.arange(2 * CHUNK + 4, dtype=np.uint8), "small": np.ones(2)}
    sizes = [chunk.nbytes for chunk in chunks(tensors)]
    assert sizes[1:] == [CHUNK, CHUNK, 4, 16]
    seen = []
    size, _ = digest_of_chunks(chunks(tensors), pace=seen.append)
    assert seen == [sizes[0] + CHUNK, CHUNK]  # Not after each small tensor.
    assert size == sum(sizes)
    assert_same(safetensors.numpy.load_file(written(tmp_path / "file", tensors)), tensors)


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([None]), np.zeros(2, np.complex128)])
def test_a_type_that_the_format_does_not_know_is_refused_by_name(value):
    with pytest.raises(TypeError, match=r"^weird has the type .*Expected one of bool, int8.*Cast it first"):
        list(chunks({"weird": value}))


def test_the_reserved_name_is_refused():
    with pytest.raises(ValueError, match="__metadata__"):
        list(chunks({"__metadata__": np.ones(1)}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:30],
        lambda data: data[:-1],
        lambda data: data + b"more",
        lambda data: b"\xff" * len(data),
        lambda data: data[:8] + b"#" + data[9:],
        lambda data: data.replace(b'"F32"', b'"F99"'),
        lambda data: data.replace(b"[0,12]", b"[0,99]"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float8_e5m2"])
def test_a_damaged_file_is_named(tmp_path, damage, dtype):
    path = written(tmp_path / "weights.safetensors", {"x": np.ones(3, np.float32), "y": np.ones(3).astype(dtype)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptCheckpointError, match=r"weights\.safetensors cannot be read: .+ Expected a whole"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorruptCheckpointError, match=r"nothing\.safetensors cannot be read"):
        read_tensors(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(("word", "shape"), [("F8_E8M0", [4]), ("F4", [8]), ("X1", [4])])
def test_a_type_that_cannot_be_read_is_an_error_of_the_file(tmp_path, word, shape):
    header = json.dumps({"x": {"dtype": word, "shape": shape, "data_offsets": [0, 4]}}).encode()
    (tmp_path / "new.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CorruptCheckpointError, match=r"new\.safetensors cannot be read: .*"):
        read_tensors(tmp_path / "new.safetensors")


def entry(shape, begin=0, end=4, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


HEADERS = {
    "65 dimensions": {"x": entry([1] * 65)},
    "more than it holds": {"x": entry([10**12], end=4 * 10**12)},
    "a shape that is larger than its place": {"x": entry([10**12])},
    "a product beyond 64 bits": {"x": entry([2**32, 2**32, 2])},
    "a product that is right modulo 2**64": {"x": entry([2**62, 4, 2**62, 1], end=0)},
    "no number of elements": {"x": entry([2**64, 0], end=0)},
    "a negative dimension": {"x": entry([-1])},
    "a fraction": {"x": entry([1.0])},
    "no list": {"x": entry(4)},
    "a dimension in words": {"x": entry(["1"])},
    "the same bytes twice": {"x": entry([1]), "y": entry([1])},
    "a gap": {"x": entry([0], end=0), "y": entry([0], 4, 4)},
    "an end before the beginning": {"x": entry([1], 4, 0)},
    "a place in front of the file": {"x": entry([1], -4, 0)},
    "offsets in words": {"x": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}},
    "three offsets": {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}},
    "an unknown type": {"x": entry([1], dtype="Q32")},
    "no type": {"x": {"shape": [1], "data_offsets": [0, 4]}},
    "no entry": {"x": None},
    "a list": [entry([1])],
    "nothing": None,
}


def with_header(path, header: bytes, length=None, data=bytes(4)):
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_wrong_is_refused_before_memory_is_taken(name, tmp_path):
    path = with_header(tmp_path / "x.safetensors", json.dumps(HEADERS[name]).encode())
    tracemalloc.start()
    with pytest.raises(CorruptCheckpointError, match=r"x\.safetensors cannot be read: .+ Expected a whole"):
        read_tensors(path)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 2**64 - 1),
        (b"{}", 100_000_001),
        (b"[" * 100_000, None),
        (b'{"x": ' * 100_000, None),
        (json.dumps({"x": entry([1])}).encode()[:-1] + b', "x": ' + json.dumps(entry([1])).encode() + b"}", None),
        (b'{"\\ud800": ' + json.dumps(entry([1])).encode() + b"}", None),
        (b'{"x": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}', None),
        (b"\xff\xfe{}", None),
    ],
    ids=["2**63", "2**64 - 1", "above the limit", "deep", "deeper", "a name twice", "half a pair", "digits", "no text"],
)
def test_a_header_that_is_no_json_is_refused(header, length, tmp_path):
    with pytest.raises(CorruptCheckpointError, match=r"x\.safetensors cannot be read: .+ Expected a whole"):
        read_tensors(with_header(tmp_path / "x.safetensors", header, length))


def test_64_dimensions_and_none_are_read(tmp_path):
    header = {
        "x": entry([1] * 64),
        "y": entry([2**20, 0, 2**20], 4, 4),
        "z": entry([], 4, 8),
        "__metadata__": {"a": "b"},
    }
    found = read_tensors(with_header(tmp_path / "x.safetensors", json.dumps(header).encode(), data=bytes(8)))
    assert {name: value.shape for name, value in found.items()} == {"x": (1,) * 64, "y": (2**20, 0, 2**20), "z": ()}
