"""Files of weights that reach for other files, or claim more than they hold, are refused before a value is read."""

from __future__ import annotations

import io
import pathlib
import struct
import tracemalloc
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest
from helpers import classifier

from tf_hfwb.checkpoint.safetensors_files import chunks
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import CorruptCheckpointError
from tf_hfwb.keras_compat import host_of
from tf_hfwb.keras_compat.model_files.transformers_files import TransformersFiles
from tf_hfwb.keras_compat.safe_loading.archive_safety import check_archive, weights_of_archive
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import check_hdf5

pytestmark = pytest.mark.core

SECRET = np.arange(4, dtype=np.float32)


def hdf5(harm=lambda file: None) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in {"a": np.ones((2, 3), np.float32), "b": np.ones(3, ml_dtypes.bfloat16)}.items():
            file[f"layers/dense/vars/{name}"] = value
        file["empty"], file["truth"] = np.zeros((0, 3), np.int64), np.array(True)
        file.create_group("vars")
        harm(file)
    return buffer.getvalue()


def far(file):
    file["vars/0"] = h5py.ExternalLink("secret.h5", "/weights")


def soft(file):
    file["vars/0"] = h5py.SoftLink("/truth")


def dangling(file):
    file["vars/0"] = h5py.SoftLink("/nothing")


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "weights", (4,))
    file.create_virtual_dataset("vars/0", layout)


def external(file):
    file.create_dataset("vars/0", (4,), "f4", external=[("secret.raw", 0, 16)])


def cycle(file):
    file["layers/dense/again"] = file["layers"]


def twice(file):
    file["vars/0"] = file["truth"]


def never_written(file):
    file.create_dataset("vars/0", (10**12,), "f4", fillvalue=1.0)


def never_written_chunks(file):
    file.create_dataset("vars/0", (10**12,), "f4", chunks=(1000,))


def bomb(file):
    file.create_dataset("vars/0", (10**6,), "f4", data=np.zeros(10**6, "f4"), compression="gzip", chunks=(10**6,))


def filtered(file):
    file.create_dataset("vars/0", data=np.arange(16.0), chunks=(16,), shuffle=True)


def reference(file):
    file["vars/0"] = np.array([file["truth"].ref], h5py.ref_dtype)


def region(file):
    file["vars/0"] = np.array([file["layers/dense/vars/a"].regionref[:]], h5py.regionref_dtype)


def text(file):
    file["vars/0"] = "a word"


def pairs(file):
    file["vars/0"] = np.zeros(2, [("x", "f4"), ("y", "f4")])


def type_of_its_own(file):
    file["vars/0"] = np.dtype("f4")


def deep(file):
    file.create_group("/".join("g" * 400))


def many(file):
    group = file.create_group("many", track_order=False)
    first = group.create_group("0")
    for index in range(60_000):
        h5py.h5o.link(first.id, group.id, f"n{index}".encode())


HARMS = [far, soft, dangling, virtual, external, cycle, twice, never_written, never_written_chunks, bomb, filtered]
HARMS += [reference, region, text, pairs, type_of_its_own, deep, many]


def archive(weights: bytes, compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", "{}")
        file.writestr("model.weights.h5", weights)
    return buffer.getvalue()


@pytest.fixture
def _secret():
    with h5py.File("secret.h5", "w", libver="latest") as file:
        file["weights"] = SECRET
    SECRET.tofile("secret.raw")


@pytest.mark.usefixtures("_secret")
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_hdf5_that_is_more_than_arrays_in_groups_is_refused(harm, tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(hdf5(harm))
    zipped = tmp_path / "model.keras"
    zipped.write_bytes(archive(path.read_bytes()))
    tracemalloc.start()
    for check in (
        lambda: check_hdf5(path),
        lambda: check_hdf5(io.BytesIO(path.read_bytes()), "it"),
        lambda: check_archive(zipped),
        lambda: weights_of_archive(zipped).__enter__(),
    ):
        with pytest.raises(CorruptCheckpointError, match=r"cannot be read.* Expected .* Use another"):
            check()
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_a_link_of_a_type_that_only_its_writer_knows_is_not_followed(tmp_path):
    path = tmp_path / "model.weights.h5"
    written = bytearray(hdf5(far))
    # An external link is type 64 in the link's message, in front of the length and the character set of its name.
    at = written.index(b"secret.h5")
    kind = written.rindex(b"\x40", 0, at)
    written[kind] = 70
    path.write_bytes(written)
    with h5py.File(path) as file:
        assert file["vars"].id.links.get_info(b"0").type == 70
    with pytest.raises(CorruptCheckpointError, match="/vars/0 is a link to somewhere else"):
        check_hdf5(path)


def test_a_large_attribute_is_not_read():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        file["0"] = SECRET
        file["0"].attrs["dtype"] = np.zeros(1 << 20, "u1")
    with pytest.raises(CorruptCheckpointError, match="the attribute 'dtype' of /0 has more than 65536 bytes"):
        check_hdf5(buffer)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_what_keras_writes_passes(tmp_path, libver):
    path = tmp_path / "model.keras"
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        file["layers/dense/vars/0"] = SECRET
        file["layers/dense/vars/0"].attrs["dtype"] = "float32"
        file.create_dataset("layers/dense/vars/1", data=np.ones((3, 3)), chunks=(2, 2))
        check_hdf5(file)
    path.write_bytes(archive(buffer.getvalue()))
    check_archive(path)
    with weights_of_archive(path) as file:
        np.testing.assert_array_equal(file["layers/dense/vars/0"], SECRET)
        np.testing.assert_array_equal(file["layers/dense/vars/1"], np.ones((3, 3)))
    (tmp_path / "model.weights.h5").write_bytes(hdf5())
    check_hdf5(tmp_path / "model.weights.h5")


def wrong_crc(data: bytearray):
    data[data.index(SECRET.tobytes())] ^= 1


def claims_more(data: bytearray):
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)


def claims_more_stored(data: bytearray):
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)


def encrypted(data: bytearray):
    data[data.rindex(b"PK\x01\x02") + 8] |= 1


def renamed(name: bytes):
    def harm(data: bytearray):
        for _ in range(2):
            at = data.index(b"config.json")
            data[at : at + 11] = name

    harm.__name__ = f"renamed {name!r}"
    return harm


def unknown_compression(data: bytearray):
    data[data.rindex(b"PK\x01\x02") + 10] = 14  # LZMA.


def symbolic_link(data: bytearray):
    at = data.rindex(b"PK\x01\x02")
    data[at + 38 : at + 42] = struct.pack("<I", 0o120777 << 16)


def cut_off(data: bytearray):
    del data[len(data) // 2 :]


ZIP_HARMS = [wrong_crc, claims_more, claims_more_stored, encrypted, unknown_compression, symbolic_link, cut_off]
ZIP_HARMS += [
    renamed(name) for name in (b"../bad.json", b"/root/.json", b"a\\..\\b.txt", b"a\0b\0c\0d\0e\0f", b"a/././b.txt")
]
ZIP_HARMS += [renamed(name) for name in (b"C:/bad.json", b"a//bad.json")]


@pytest.mark.parametrize("harm", ZIP_HARMS, ids=lambda harm: harm.__name__)
def test_an_archive_that_is_not_what_it_says_is_refused(harm, tmp_path):
    def add(file):
        file["vars/0"] = SECRET

    path = tmp_path / "model.keras"
    data = bytearray(archive(hdf5(add)))
    harm(data)
    path.write_bytes(data)
    with pytest.raises(CorruptCheckpointError, match=r"model\.keras cannot be read.* Expected .* another checkpoint"):
        check_archive(path)


@pytest.mark.parametrize(
    "entries",
    [
        [("config.json", b"{}"), ("model.weights.h5", hdf5()), ("config.json", b"[]")],
        [("config.json", b"{}"), ("CONFIG.json", b"[]")],
        [("config.json", bytes(100 << 20))],
        [(f"assets/{index}", b"") for index in range(10_001)],
        [("model.weights.h5", hdf5())],
    ],
    ids=["two of one name", "two but for case", "bomb", "many", "compressed weights"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_other_entries_than_keras_writes_is_refused(entries, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries:
            file.writestr(name, data)
    with pytest.raises(CorruptCheckpointError, match=r"model\.keras cannot be read"):
        check_archive(path)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """Each of many names stands for the same compressed bytes: a bomb without nesting."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("00", np.random.default_rng(0).bytes(50_000))
        first = file.infolist()[0]
        for index in range(1, 99):
            again = zipfile.ZipInfo(f"{index:02}")
            for attribute in ("header_offset", "compress_type", "compress_size", "file_size", "CRC"):
                setattr(again, attribute, getattr(first, attribute))
            file.filelist.append(again)
    with pytest.raises(CorruptCheckpointError, match="cannot be read: its entries claim more than its"):
        check_archive(path)


def transformers_checkpoint(index, tensors):
    store = Store("out")
    pathlib.Path("out/outside").mkdir(parents=True)
    pathlib.Path("out/outside/x.safetensors").write_bytes(b"".join(chunks({"stolen": SECRET})))
    with store.exclusive(), store.draft("checkpoint-1") as draft:
        draft.write_json("model.safetensors.index.json", index)
        for name, values in tensors.items():
            draft.write_tensors(name, values)
        checkpoint = draft.commit()
    (checkpoint.path / "left.safetensors").write_bytes(b"".join(chunks({"stolen": SECRET})))
    return checkpoint


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"w": "one.safetensors", "stolen": "../outside/x.safetensors"}},
        {"weight_map": {"w": "one.safetensors", "stolen": "left.safetensors"}},
        {"weight_map": {"w": "one.safetensors", "stolen": "/etc/passwd"}},
        {"weight_map": {"w": "one.safetensors", "stolen": 3}},
        {"weight_map": {"w": ["one.safetensors"]}},
        {"weight_map": ["one.safetensors"]},
        {"weight_map": None},
        {},
        [],
        "one.safetensors",
        {"weight_map": {"w": "one.safetensors", "v": "two.safetensors"}},
    ],
    ids=lambda index: str(index)[16:60],
)
def test_an_index_names_files_of_the_checkpoint_each_weight_once(index):
    tensors = {"one.safetensors": {"w": SECRET}, "two.safetensors": {"w": SECRET}}
    with pytest.raises(CorruptCheckpointError, match=r"The model in .* cannot be read: .* Expected .* Use another"):
        TransformersFiles.read(transformers_checkpoint(index, tensors))


def test_what_is_not_in_the_manifest_is_not_read():
    checkpoint = transformers_checkpoint({"weight_map": {"w": "one.safetensors"}}, {"one.safetensors": {"w": SECRET}})
    assert set(TransformersFiles.read(checkpoint)) == {"w"}
    (checkpoint.path / "model.weights.h5").write_bytes(hdf5())
    with pytest.raises(CorruptCheckpointError, match="manifest names neither"):
        host_of(classifier("keras")).model_files().read(checkpoint)
