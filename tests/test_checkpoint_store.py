"""The directory of checkpoints: the format, what counts, what is kept, and the order of what is made durable."""

from __future__ import annotations

import ast
import contextlib
import errno
import hashlib
import importlib.util
import json
import logging
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import warnings
import zipfile
from types import SimpleNamespace
from typing import Optional

import numpy as np
import pytest
from helpers import needs, python

from tf_hfwb import errors
from tf_hfwb.checkpoint.digests import CHUNK
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import (
    CheckpointWriteError,
    CorruptCheckpointError,
    DirectoryInUseError,
    NotACheckpointError,
)

pytestmark = pytest.mark.core


def save(store, step, text="", name=None):
    with store.draft(name or f"checkpoint-{step}") as draft:
        draft.write_json("trainer_state.json", {"global_step": step, "text": text})
        draft.write_tensors("state.safetensors", {"x": np.full(5, step, np.float32)})
        with draft.open("deep/er/notes.txt") as file:
            file.write(b"notes")
        return draft.commit()


def steps(store):
    return [checkpoint.step for checkpoint in store.checkpoints()]


def leftovers(store):
    return sorted(path.name for path in store.path.glob(".tmp-*"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


def digest_in(manifest):
    """The digest of a manifest in itself, as the format describes it."""
    others = {key: value for key, value in manifest.items() if key != "digest"}
    canonical = json.dumps(others, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def edit_manifest(path, without=(), **changes):
    """As somebody does who knows the format: the digest is that of what is written."""
    manifest = json.loads((path / "manifest.json").read_text()) | changes
    manifest = {key: value for key, value in manifest.items() if key not in without}
    if "digest" in manifest:
        manifest["digest"] = digest_in(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def write_manifest(path, text):
    (path / "manifest.json").write_text(text)


def name_in_manifest(path, *names):
    files = json.loads((path / "manifest.json").read_text())["files"]
    edit_manifest(path, files=files | dict.fromkeys(names, files["state.safetensors"]))


def enter_in_manifest(path, **changes):
    files = json.loads((path / "manifest.json").read_text())["files"]
    edit_manifest(path, files=files | {"state.safetensors": files["state.safetensors"] | changes})


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# -- writing -----------------------------------------------------------------------------------------------------------


def test_the_manifest_names_every_file_with_its_size_and_digest(store):
    checkpoint = save(store, 30)
    manifest = json.loads((store.path / "checkpoint-30" / "manifest.json").read_text())
    assert manifest["format"] == "tf_hfwb-checkpoint"
    assert manifest["version"] == 1
    assert list(manifest["files"]) == ["deep/er/notes.txt", "state.safetensors", "trainer_state.json"]
    for name, entry in manifest["files"].items():
        data = (checkpoint.path / name).read_bytes()
        assert entry == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert leftovers(store) == []


def test_what_was_written_is_read_back(store):
    save(store, 30, text="größer")
    checkpoint = Checkpoint.open(store.path / "checkpoint-30")
    checkpoint.verify()
    assert (checkpoint.name, checkpoint.step, checkpoint.version) == ("checkpoint-30", 30, 1)
    assert checkpoint.read_json("trainer_state.json") == {"global_step": 30, "text": "größer"}
    np.testing.assert_array_equal(checkpoint.read_tensors("state.safetensors")["x"], np.full(5, 30, np.float32))
    assert checkpoint == store.checkpoints()[0]


def test_making_a_store_and_listing_touch_nothing(store):
    assert store.checkpoints() == []
    assert store.list_all()[1] == []
    assert store.newest_good() == (None, [])
    assert store.prune(1) == []
    assert not store.path.exists()


def test_a_draft_that_is_not_committed_leaves_nothing(store):
    with store.draft("checkpoint-1") as draft:
        draft.write_json("a.json", 1)
        assert draft.path.parent == store.path
    with contextlib.suppress(KeyError), store.draft("checkpoint-2") as draft:
        draft.write_json("a.json", 1)
        raise KeyError
    assert list(store.path.iterdir()) == []


def test_files_of_other_tools_are_taken_in(store):
    with store.draft("checkpoint-1") as draft:
        (draft.path / "assets").mkdir()
        (draft.path / "assets" / "vocab.txt").write_text("words")
        (draft.path / "empty").touch()
        draft.write_json("a.json", 1)
        checkpoint = draft.commit()
    assert sorted(checkpoint.files) == ["a.json", "assets/vocab.txt", "empty"]
    Checkpoint.open(checkpoint.path).verify()


def test_half_a_file_is_not_taken_in(store):
    with store.draft("checkpoint-1") as draft:
        with contextlib.suppress(KeyError), draft.open("half") as file:
            file.write(b"ha")
            raise KeyError
        checkpoint = draft.commit()
    assert list(checkpoint.files) == []
    assert os.listdir(checkpoint.path) == ["manifest.json"]


def test_a_file_that_cannot_be_sought_in_is_enough_for_an_archive(store):
    with store.draft("checkpoint-1") as draft:
        with draft.open("model.keras") as file, zipfile.ZipFile(file, "w") as archive:
            assert not file.seekable()
            archive.writestr("config.json", "{}")
            with archive.open("weights", "w", force_zip64=True) as entry:
                entry.write(b"w" * 100_000)
        checkpoint = draft.commit()
    checkpoint.verify()
    with zipfile.ZipFile(checkpoint.path / "model.keras") as archive:
        assert archive.testzip() is None
        assert archive.read("weights") == b"w" * 100_000


def test_pace_is_called_about_every_four_mebibytes(store):
    seen = []
    with store.draft("checkpoint-1", pace=seen.append) as draft:
        draft.write_tensors("a", {"x": np.zeros(3 * CHUNK, np.uint8)})
        with draft.open("b") as file:
            file.write(b"b" * (2 * CHUNK + 1))
        assert len(seen) == 5
        assert all(size >= CHUNK for size in seen)
        (draft.path / "c").write_bytes(b"c" * CHUNK)
        draft.commit()
    assert len(seen) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="only there the kernel can be asked to")
def test_a_file_is_on_its_way_to_the_disk_before_it_is_whole(store, monkeypatch):
    asked = []

    def advise(descriptor, offset, length, advice):
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        asked.append(os.fstat(descriptor).st_size // CHUNK)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    with store.draft("checkpoint-1") as draft:
        draft.write_tensors("a", {"x": np.zeros(3 * CHUNK, np.uint8)})
        assert asked == [1, 2, 3]


class SlowHash:
    """A SHA-256 that another thread than the test's may only go on with when the gate is open."""

    def __init__(self, gate):
        self._sha, self._gate = hashlib.sha256(), gate
        self.hexdigest = self._sha.hexdigest

    def update(self, data):
        if threading.current_thread() is not threading.main_thread():
            assert self._gate.wait(10)
        self._sha.update(data)


def hash_slowly(monkeypatch, gate):
    monkeypatch.setattr("tf_hfwb.checkpoint.checkpoint_draft.hashlib", SimpleNamespace(sha256=lambda: SlowHash(gate)))


def test_when_somebody_waits_files_are_written_and_synced_while_they_are_hashed(store, monkeypatch):
    gate = threading.Event()
    with monkeypatch.context() as patched, store.draft("checkpoint-1", pace=lambda size: True) as draft:
        hash_slowly(patched, gate)
        for name in ("a", "b"):
            draft.write_tensors(name, {"x": np.arange(3 * CHUNK, dtype=np.uint8)})
            assert (draft.path / name).stat().st_size > 3 * CHUNK
        gate.set()
        checkpoint = draft.commit()
    checkpoint.verify()


def test_the_digest_is_right_when_somebody_waits_for_a_part_of_a_file(store, monkeypatch):
    gate, waits = threading.Event(), iter([True, False, True, False, False])

    def pace(size):
        waiting = next(waits)
        if not waiting:
            threading.Timer(0.05, gate.set).start()  # The chunk before is not hashed yet when the next one comes.
        return waiting

    hash_slowly(monkeypatch, gate)
    with store.draft("checkpoint-1", pace=pace) as draft:
        draft.write_tensors("a", {"x": np.repeat(np.arange(5, dtype=np.uint8), CHUNK)})
        checkpoint = draft.commit()
    monkeypatch.undo()
    checkpoint.verify()


def test_a_reused_file_is_one_file_on_disk(store):
    first = save(store, 1)
    with store.draft("checkpoint-2") as draft:
        draft.reuse("state.safetensors", first)
        draft.reuse("copy/notes", first, "deep/er/notes.txt")
        second = draft.commit()
    assert os.path.samefile(first.path / "state.safetensors", second.path / "state.safetensors")
    assert second.files["copy/notes"] == first.files["deep/er/notes.txt"]
    shutil.rmtree(first.path)
    second.verify()


def test_a_file_is_reused_if_it_has_the_same_content_which_is_hashed_with_rests(store):
    content, seen = b"x" * (3 * CHUNK), []
    with store.draft("checkpoint-1") as draft:
        with draft.open("frozen") as file:
            file.write(content)
        first = draft.commit()
    with store.draft("checkpoint-2", pace=seen.append) as draft:
        assert not draft.reuse_same("frozen", [content[1:]], first)
        assert draft.reuse_same("frozen", [content], first)
        assert seen == [CHUNK, CHUNK, CHUNK, CHUNK, CHUNK]
        not_read = iter([content])
        assert not draft.reuse_same("frozen", not_read, None)
        assert not draft.reuse_same("another", not_read, first)
        assert next(not_read) is content
        second = draft.commit()
    assert os.path.samefile(first.path / "frozen", second.path / "frozen")


def test_where_links_are_not_possible_a_reused_file_is_a_copy(store, monkeypatch):
    def link(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    first = save(store, 1)
    flip(first.path / "deep/er/notes.txt")
    with store.draft("checkpoint-2") as draft:
        draft.reuse("state.safetensors", first)
        draft.reuse("notes", first, "deep/er/notes.txt")
        second = draft.commit()
    assert not os.path.samefile(first.path / "state.safetensors", second.path / "state.safetensors")
    assert second.files["state.safetensors"] == first.files["state.safetensors"]
    with pytest.raises(CorruptCheckpointError, match="notes"):  # A copy of what is damaged is damaged.
        second.verify()


def test_the_same_again_is_kept(store):
    first = save(store, 5)
    before = os.stat(first.path)
    assert save(store, 5) == first
    assert os.stat(first.path).st_ino == before.st_ino
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path / "state.safetensors"),
        lambda path: (path / "state.safetensors").unlink(),
        lambda path: write_manifest(path, ""),
        lambda path: (path / "manifest.json").write_text((path / "manifest.json").read_text() + " "),
    ],
)
def test_a_damaged_one_is_replaced_by_the_same_again(store, damage):
    damage(save(store, 5).path)
    save(store, 5)
    Checkpoint.open(store.path / "checkpoint-5").verify()
    assert leftovers(store) == []


def test_another_one_of_the_same_name_is_replaced(store):
    save(store, 5, "old")
    save(store, 5, "new")
    assert store.checkpoints()[0].read_json("trainer_state.json")["text"] == "new"
    assert os.listdir(store.path) == ["checkpoint-5"]


def test_what_is_in_the_way_and_not_ours_gets_another_name(store):
    (store.path / "checkpoint-5").mkdir(parents=True)
    (store.path / "checkpoint-5" / "pytorch_model.bin").write_text("precious")
    (store.path / "model").write_text("precious, too")
    save(store, 5)
    save(store, 5, name="model")
    store.sweep()
    assert steps(store) == [5]
    kept = sorted(store.path.glob("not-ours-*"))
    assert [path.name[:-8] for path in kept] == ["not-ours-checkpoint-5-", "not-ours-model-"]
    assert (kept[0] / "pytorch_model.bin").read_text() == "precious"
    assert kept[1].read_text() == "precious, too"


def test_a_rename_that_fails_puts_the_old_one_back(store, monkeypatch):
    save(store, 5, "old")
    rename = os.rename

    def fails(source, target):
        if ".tmp-draft-" in str(source):
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(CheckpointWriteError, match="broken"):
        save(store, 5, "new")
    assert os.listdir(store.path) == ["checkpoint-5"]
    assert store.checkpoints()[0].read_json("trainer_state.json")["text"] == "old"


# -- opening and verifying ---------------------------------------------------------------------------------------------


def test_what_is_no_checkpoint_is_said_to_be_none(store):
    (store.path / "checkpoint-1").mkdir(parents=True)
    (store.path / "file").touch()
    for name, found in (("nothing", "no directory"), ("checkpoint-1", "without a manifest"), ("file", "no directory")):
        with pytest.raises(
            NotACheckpointError, match=rf"{name} is no checkpoint: .*{found}.*Expected .*Check"
        ) as caught:
            Checkpoint.open(store.path / name)
        assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: write_manifest(path, ""), "is no manifest"),
        (lambda path: write_manifest(path, '{"format": "tf_hfwb-ch'), "is no manifest"),
        (lambda path: (path / "manifest.json").write_bytes(b"\xff\xfe\0\1" * 9), "is no manifest"),
        (lambda path: (path / "manifest.json").write_bytes(b"\0" * 512), "is no manifest"),
        (lambda path: write_manifest(path, "[" * 100_000), "is no manifest"),
        (lambda path: write_manifest(path, "[]"), "is no manifest"),
        (lambda path: write_manifest(path, "null"), "is no manifest"),
        (lambda path: edit_manifest(path, format="other"), "its format is 'other'"),
        (lambda path: edit_manifest(path, version="1"), "version '1'"),
        (lambda path: edit_manifest(path, files=[]), "is no manifest"),
        (lambda path: edit_manifest(path, files={"a": 1}), "is no manifest"),
        (lambda path: edit_manifest(path, files={"a": {"size": 1}}), "is no manifest"),
        (lambda path: edit_manifest(path, version=2, files=0), "has version 2 .*at most 1.*newer version.*Upgrade"),
        (lambda path: name_in_manifest(path, "../x"), r"outside of its directory, '\.\./x'"),
        (lambda path: name_in_manifest(path, "deep/../../x"), "outside of its directory"),
        (lambda path: name_in_manifest(path, "/etc/passwd"), "outside of its directory"),
        (lambda path: name_in_manifest(path, "..\\x"), "outside of its directory"),
        (lambda path: name_in_manifest(path, "."), "more than one way"),
        (lambda path: name_in_manifest(path, ""), "outside of its directory"),
        (lambda path: name_in_manifest(path, "null\0byte"), "a character that no name has"),
        (lambda path: name_in_manifest(path, "half\ud800"), "a character that no name has"),
        (lambda path: name_in_manifest(path, "deep//er/notes.txt"), "more than one way"),
        (lambda path: name_in_manifest(path, "./state.safetensors"), "more than one way"),
        (lambda path: name_in_manifest(path, "deep/./er/notes.txt"), "more than one way"),
        (lambda path: name_in_manifest(path, "State.safetensors"), "twice, 'state.safetensors' and 'State"),
        (lambda path: name_in_manifest(path, "manifest.json"), "twice, 'manifest.json'"),
        (lambda path: name_in_manifest(path, "deep"), "within a file, 'deep'"),
        (lambda path: name_in_manifest(path, "other", "x" * 300), "other is damaged: .* missing"),
        (lambda path: name_in_manifest(path, "x" * 300), "File name too long"),
        (lambda path: name_in_manifest(path, "d/" * 2000 + "x"), "missing"),
        (lambda path: name_in_manifest(path, "d/" * 9000 + "x"), "a name of 18001 characters"),
        (lambda path: name_in_manifest(path, "deep/er"), "within a file"),
        (lambda path: enter_in_manifest(path, size=-1), "size of 'state.safetensors' is -1"),
        (lambda path: enter_in_manifest(path, size=True), "size .* is True"),
        (lambda path: enter_in_manifest(path, size=84.0), r"size .* is 84\.0"),
        (lambda path: enter_in_manifest(path, size=math.inf), "size .* is inf"),
        (lambda path: enter_in_manifest(path, size="84"), "size .* is '84'"),
        (lambda path: enter_in_manifest(path, size=10**30), "1000000000.* bytes, and the file has 84"),
        (lambda path: enter_in_manifest(path, sha256=None), "SHA-256 of 'state.safetensors' is None"),
        (lambda path: enter_in_manifest(path, sha256="A" * 64), "SHA-256 .* is 'AAAA"),
        (lambda path: edit_manifest(path, sequence=-1), "sequence is -1"),
        (lambda path: edit_manifest(path, sequence="7"), "sequence is '7'"),
        (lambda path: edit_manifest(path, sequence=True), "sequence is True"),
        (lambda path: edit_manifest(path, version=True), "version True"),
        (lambda path: edit_manifest(path, version=0), "version 0"),
        (lambda path: write_manifest(path, '{"sequence": ' + "9" * 5000 + "}"), "is no manifest"),
        (lambda path: write_manifest(path, "{}" + " " * (16 << 20)), "more than 16777216 bytes"),
        (lambda path: os.truncate(path / "manifest.json", 50 << 30), "more than 16777216 bytes"),
        (lambda path: (path / "state.safetensors").unlink(), r"state\.safetensors .* 84 bytes, .*missing"),
        (lambda path: os.truncate(path / "state.safetensors", 99), r"state\.safetensors .* 84 bytes, .*has 99"),
        (lambda path: os.truncate(path / "state.safetensors", 0), r"state\.safetensors .* 84 bytes, .*has 0"),
        (lambda path: os.truncate(path / "deep/er/notes.txt", 9), r"notes\.txt .* 5 bytes, .*has 9"),
    ],
)
def test_damage_that_shows_in_the_manifest_and_the_sizes(store, damage, message):
    save(store, 10)
    damage(save(store, 20).path)
    with pytest.raises(CorruptCheckpointError, match=message) as caught:
        Checkpoint.open(store.path / "checkpoint-20")
    assert isinstance(caught.value, ValueError)
    assert steps(store) == [10]
    (rejected,) = store.list_all()[1]
    assert (rejected.path, rejected.reason) == (store.path / "checkpoint-20", str(caught.value))
    assert len(rejected.reason) < 5000
    newest, passed_over = store.newest_good()
    assert newest.step == 10
    assert passed_over == [rejected]


def test_a_flipped_bit_shows_in_the_digest(store):
    save(store, 10)
    checkpoint = save(store, 20)
    flip(checkpoint.path / "state.safetensors")
    found = hashlib.sha256((checkpoint.path / "state.safetensors").read_bytes()).hexdigest()
    expected = checkpoint.files["state.safetensors"].sha256
    message = rf"state\.safetensors is damaged: its SHA-256 is {found}, .* {expected}\. Use another"
    with pytest.raises(CorruptCheckpointError, match=message):
        Checkpoint.open(checkpoint.path).verify()
    assert steps(store) == [10, 20]
    newest, passed_over = store.newest_good()
    assert newest.step == 10
    assert [one.path for one in passed_over] == [checkpoint.path]
    assert "state.safetensors" in passed_over[0].reason


def test_the_newest_good_one_comes_with_those_passed_over_and_no_older_ones(store):
    for step in (5, 10, 20, 30, 40):
        save(store, step)
    os.truncate(store.path / "checkpoint-5" / "state.safetensors", 1)
    write_manifest(store.path / "checkpoint-10", "")  # Nobody knows when it was saved.
    flip(store.path / "checkpoint-30" / "state.safetensors")
    os.truncate(store.path / "checkpoint-40" / "state.safetensors", 1)
    newest, passed_over = store.newest_good()
    assert newest.step == 20
    told = {one.path.name: one.sequence for one in passed_over}
    assert told == {"checkpoint-10": None, "checkpoint-30": 4, "checkpoint-40": 5}
    assert {one.path.name: one.sequence for one in store.list_all()[1] if one.path.name == "checkpoint-5"} == {
        "checkpoint-5": 1
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path / "state.safetensors"),
        lambda path: (path / "state.safetensors").unlink(),
        lambda path: write_manifest(path, ""),
        lambda path: edit_manifest(path, version=2),
    ],
)
def test_those_of_a_training_that_was_saved_later_count_whatever_their_step(store, damage):
    save(store, 1000)
    for step in (10, 20):
        damage(save(store, step).path)
    newest, passed_over = store.newest_good()
    assert newest.step == 1000
    assert sorted(one.path.name for one in passed_over) == ["checkpoint-10", "checkpoint-20"]


def test_a_damaged_one_counts_for_the_order_of_saving(store):
    save(store, 10)
    (save(store, 20).path / "state.safetensors").unlink()
    assert save(store, 5).sequence == 3


def test_none_is_good_when_all_are_damaged(store):
    flip(save(store, 0).path / "state.safetensors")
    newest, passed_over = store.newest_good()
    assert newest is None
    assert [one.path.name for one in passed_over] == ["checkpoint-0"]


def test_files_and_keys_that_the_format_does_not_know_are_ignored(store):
    path = save(store, 10).path
    (path / "notes.txt").write_text("dropped here by somebody")
    edit_manifest(path, comment="later versions may say more")
    Checkpoint.open(path).verify()
    assert steps(store) == [10]


def test_reading_a_file_that_is_missing_or_garbled_names_it(store):
    checkpoint = save(store, 10)
    with pytest.raises(CorruptCheckpointError, match=r"nothing\.json cannot be read"):
        checkpoint.read_json("nothing.json")
    (checkpoint.path / "trainer_state.json").write_bytes(b'{"\xff')
    with pytest.raises(CorruptCheckpointError, match=r"trainer_state\.json cannot be read"):
        checkpoint.read_json("trainer_state.json")
    with pytest.raises(CorruptCheckpointError, match=r"nothing\.safetensors cannot be read"):
        checkpoint.read_tensors("nothing.safetensors")
    checkpoint = save(store, 20)
    (checkpoint.path / "deep/er/notes.txt").unlink()
    with pytest.raises(CorruptCheckpointError, match=r"notes\.txt cannot be read.*Expected.*Use another"):
        checkpoint.verify()


# -- listing and removing ----------------------------------------------------------------------------------------------


def test_the_newest_is_what_was_saved_last_and_counts_by_its_step_where_nobody_counted(store):
    for step in (100, 9, 20):
        save(store, step)
    assert steps(store) == [100, 9, 20]
    assert store.newest_good()[0].step == 20
    save(store, 100)  # Again, with the same content.
    assert steps(store) == [9, 20, 100]
    assert store.prune(2) == [store.path / "checkpoint-9"]
    for path in store.path.glob("checkpoint-*"):  # As before there was a sequence.
        edit_manifest(path, without=["sequence"])
    save(store, 3)
    assert steps(store) == [20, 100, 3]


def test_steps_are_ordered_as_numbers_and_other_names_are_not_listed(store):
    for step in (9, 20, 100):
        save(store, step)
    for name in (
        "model",
        "checkpoint-best",
        "checkpoint--5",
        "checkpoint-10-suffix",
        "checkpoint-",
        "xcheckpoint-1",
        "checkpoint-٣٠",
    ):
        save(store, 1, name=name)
    (store.path / "checkpoint-500").mkdir()  # As the PyTorch Trainer writes it.
    (store.path / "checkpoint-500" / "trainer_state.json").write_text("{}")
    (store.path / "checkpoint-600").touch()
    assert steps(store) == [9, 20, 100]
    assert store.list_all()[1] == []
    assert Checkpoint.open(store.path / "model").step is None


@pytest.mark.parametrize(
    ("there", "limit", "keep", "left"),
    [
        ([10, 20, 30], 5, [], [10, 20, 30]),
        ([10, 20, 30], 3, [], [10, 20, 30]),
        ([10, 20, 30], 2, [], [20, 30]),
        ([10, 20, 30], 1, [], [30]),
        ([10, 20, 30], 2, [10], [10, 30]),
        ([10, 20, 30], 2, [20], [20, 30]),
        ([10, 20, 30], 2, [30], [20, 30]),
        ([10, 20, 30, 40], 3, [10], [10, 30, 40]),
        ([10, 20, 30], 1, [10], [10, 30]),
        ([10, 20, 30], 1, [30], [30]),
        ([10, 20, 30], 1, [15], [30]),
        ([9, 10, 100], 2, [], [10, 100]),
        ([10, 20, 30, 40], 2, [10, 20], [10, 20, 40]),
        ([10, 20, 30, 40], 1, {10, 20, 30}, [10, 20, 30, 40]),
    ],
)
def test_pruning(store, there, limit, keep, left):
    for step in there:
        save(store, step)
    save(store, 1, name="model")
    (store.path / "checkpoint-5").mkdir()
    gone = store.prune(limit, keep)
    assert steps(store) == left
    assert [path.name for path in gone] == [f"checkpoint-{step}" for step in there if step not in left]
    assert leftovers(store) == []
    assert (store.path / "model").is_dir()
    assert (store.path / "checkpoint-5").is_dir()


def rotate_as_transformers(directory, limit, best):
    """Trainer._rotate_checkpoints, out of the file, for importing it takes PyTorch."""
    source = pathlib.Path(importlib.util.find_spec("transformers").origin).with_name("trainer.py").read_text()
    (trainer,) = [node for node in ast.parse(source).body if getattr(node, "name", "") == "Trainer"]
    methods = [
        node for node in trainer.body if getattr(node, "name", "") in ("_sorted_checkpoints", "_rotate_checkpoints")
    ]
    trainer.bases, trainer.decorator_list, trainer.body = [], [], methods
    names = {
        "os": os,
        "re": re,
        "shutil": shutil,
        "warnings": warnings,
        "Path": pathlib.Path,
        "Optional": Optional,
        "logger": logging.getLogger("transformers"),
        "PREFIX_CHECKPOINT_DIR": "checkpoint",
    }
    exec(compile(ast.Module([trainer], []), "trainer.py", "exec"), names)
    theirs = names["Trainer"]()
    theirs.args = SimpleNamespace(save_total_limit=limit)
    theirs.state = SimpleNamespace(best_model_checkpoint=best and str(directory / f"checkpoint-{best}"))
    theirs._rotate_checkpoints(output_dir=str(directory))


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
@pytest.mark.parametrize("best", [None, 9, 20, 30, 100])
@needs("transformers")
def test_pruning_leaves_what_transformers_leaves(store, limit, best):
    theirs = store.path.parent / "theirs"
    for step in (9, 20, 30, 100):
        save(store, step)
        (theirs / f"checkpoint-{step}").mkdir(parents=True)
    rotate_as_transformers(theirs, limit, best)
    store.prune(limit, [] if best is None else [best])
    assert sorted(checkpoint.name for checkpoint in store.checkpoints()) == sorted(os.listdir(theirs))


def test_sweeping_removes_our_leftovers_and_nothing_else(store):
    save(store, 10)
    ours = [".tmp-draft-checkpoint-20-0a1b2c3d", ".tmp-removed-checkpoint-1-0a1b2c3d", ".tmp-replaced-model-0a1b2c3d"]
    others = [".tmp-other", "checkpoint-500", "tmp-draft-checkpoint-1-00000000", "runs"]
    for name in (*ours, *others):
        (store.path / name).mkdir()
        (store.path / name / "file").touch()
    (store.path / "file").touch()
    store.sweep()
    assert sorted(os.listdir(store.path)) == sorted([*others, "checkpoint-10", "file"])


REPLACED = ".tmp-replaced-checkpoint-10-0a1b2c3d"


@pytest.mark.parametrize("look", ["checkpoints", "list_all", "newest_good", "sweep"])
def test_the_old_one_comes_back_when_the_new_one_never_came(store, look):
    old = save(store, 10)
    os.rename(old.path, store.path / REPLACED)
    getattr(store, look)()
    assert Checkpoint.open(old.path) == old
    assert leftovers(store) == []


@pytest.mark.parametrize("spoil", [lambda path: None, lambda path: (path / "manifest.json").unlink()])
def test_the_old_one_goes_when_the_new_one_is_there_or_it_is_no_whole_one(store, spoil):
    old = save(store, 10)
    os.rename(old.path, store.path / REPLACED)
    spoil(store.path / REPLACED)
    there = (store.path / REPLACED / "manifest.json").exists()
    if there:
        shutil.copytree(store.path / REPLACED, old.path)
        (old.path / "manifest.json").unlink()  # Whatever is there: it is not overwritten.
    assert steps(store) == []
    store.sweep()
    assert leftovers(store) == []
    assert old.path.exists() == there


def test_nobody_brings_the_old_one_back_while_another_process_may_be_replacing_it(store, monkeypatch):
    old = save(store, 10)
    os.rename(old.path, store.path / REPLACED)
    with Held(store.path):
        assert steps(store) == []
    assert steps(store) == [10]


# -- one process at a time ---------------------------------------------------------------------------------------------

HOLD = """
import sys
from tf_hfwb.checkpoint.store import Store
with Store(sys.argv[1]).exclusive():
    print("held", flush=True)
    sys.stdin.read()
"""


class Held:
    """Another process that holds the directory."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", HOLD, str(self.path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdout.readline() == b"held\n"
        return self.process

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()


def test_a_second_process_is_told_and_a_killed_one_lets_go(store):
    with Held(store.path) as process:
        with pytest.raises(DirectoryInUseError, match=r"Another process .*out\. Expected .*of its own, or wait"):
            store.exclusive().__enter__()
        process.kill()
        process.wait()
        with store.exclusive():
            pass


def test_holding_is_over_with_the_outermost_block(store, monkeypatch):
    def is_free():
        code = "import sys; from tf_hfwb.checkpoint.store import Store; Store(sys.argv[1]).exclusive().__enter__()"
        finished = python("-c", code, str(store.path.absolute()), check=False)
        assert finished.returncode == 0 or "DirectoryInUseError" in finished.stderr
        return finished.returncode == 0

    store.path.mkdir()
    monkeypatch.chdir(store.path.parent)
    with store.exclusive():
        with Store("out").exclusive(), store.exclusive():
            pass
        assert not is_free()
        thread = threading.Thread(target=lambda: save_exclusively(Store("out"), 7))
        thread.start()
        thread.join()
        assert steps(store) == [7]
        assert not is_free()
    assert is_free()


def save_exclusively(store, step):
    with store.exclusive():
        save(store, step)


def test_another_thread_may_let_go(store):
    held = store.exclusive()
    held.__enter__()
    thread = threading.Thread(target=held.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    with Held(store.path):
        pass


# -- failures ----------------------------------------------------------------------------------------------------------


def test_an_error_of_the_system_ends_the_draft_and_is_explained(store, monkeypatch):
    save(store, 10)

    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    message = r"checkpoint-20 could not be written: No space left on device \(\d+ MiB are free.*Expected.*Make room"
    with pytest.raises(CheckpointWriteError, match=message) as caught:
        save(store, 20)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOSPC
    assert isinstance(caught.value.__cause__, OSError)
    assert os.listdir(store.path) == ["checkpoint-10"]


@pytest.mark.parametrize("write", [lambda store: store.exclusive().__enter__(), lambda store: save(store, 1)])
def test_a_file_where_the_directory_should_be(tmp_path, write):
    (tmp_path / "out").touch()
    for path in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(CheckpointWriteError, match=r"out.* could not be written.*Expected a directory") as caught:
            write(Store(path))
        assert caught.value.__cause__ is not None


def test_errors_of_this_package_pass_through_a_draft(store):
    with pytest.raises(errors.WeightsError), store.draft("checkpoint-1"):
        raise errors.WeightsError("an OSError, too")


def test_pruning_that_fails_is_explained(store, monkeypatch):
    save(store, 1)
    save(store, 2)
    monkeypatch.setattr(os, "rename", lambda *paths: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only")))
    with pytest.raises(CheckpointWriteError, match="read-only"):
        store.prune(1)
    assert steps(store) == [1, 2]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_file_systems_that_cannot_sync_directories_are_borne_with(store, monkeypatch, number):
    fsync = os.fsync

    def refuses(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, "not for directories")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuses)
    save(store, 1)
    monkeypatch.setattr(os, "fsync", lambda descriptor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(store, 2)


# -- the order in which things become durable --------------------------------------------------------------------------


@pytest.fixture
def calls(store, monkeypatch):
    """The calls that make things durable, in order: (what, path within the store's parent)."""
    recorded: list[tuple[str, str]] = []
    root = store.path.parent

    def shown(path):
        return str(pathlib.Path(path).relative_to(root)) if str(path).startswith(str(root)) else str(path)

    def watch(name, path_of):
        real = getattr(os, name)

        def call(*arguments, **options):
            recorded.append((name, shown(path_of(*arguments))))
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    watch("fsync", lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"))
    watch("rename", lambda source, target: f"{shown(source)} {shown(target)}")
    watch("link", lambda source, target: target)
    watch("unlink", lambda path: path)
    watch("rmdir", lambda path: path)
    return recorded


def without_random(calls):
    return [(what, re.sub(r"-[0-9a-f]{8}\b", "", path)) for what, path in calls]


def test_everything_is_synced_before_the_rename_and_the_parent_after_it(store, calls):
    with store.draft("checkpoint-2") as draft:
        draft.write_json("a.json", 1)
        (draft.path / "sub").mkdir()
        (draft.path / "sub" / "theirs").touch()
        draft.commit()
    draft = "out/.tmp-draft-checkpoint-2"
    assert without_random(calls) == [
        ("fsync", "."),  # The output directory is new.
        ("fsync", f"{draft}/a.json"),
        ("fsync", f"{draft}/sub/theirs"),
        ("fsync", f"{draft}/manifest.json"),
        ("fsync", f"{draft}/sub"),
        ("fsync", draft),
        ("rename", f"{draft} out/checkpoint-2"),
        ("fsync", "out"),
    ]


def test_new_directories_above_are_synced(store, calls):
    with Store(store.path / "a" / "b").exclusive():
        pass
    assert sorted(calls) == [("fsync", "."), ("fsync", "out"), ("fsync", "out/a")]


def test_the_old_one_is_removed_when_the_new_one_is_durable(store, calls):
    save(store, 1, "old")
    calls.clear()
    save(store, 1, "new")
    shown = [call for call in without_random(calls) if call[0] != "fsync" or call[1] == "out"]
    assert shown[:4] == [
        ("rename", "out/checkpoint-1 out/.tmp-replaced-checkpoint-1"),
        ("rename", "out/.tmp-draft-checkpoint-1 out/checkpoint-1"),
        ("fsync", "out"),
        shown[3],
    ]
    assert {what for what, _ in shown[3:]} == {"unlink", "rmdir"}


def test_files_are_removed_when_the_rename_is_durable(store, calls):
    for step in (1, 2, 3):
        save(store, step)
    calls.clear()
    store.prune(1)
    assert without_random(calls)[:3] == [
        ("rename", "out/checkpoint-1 out/.tmp-removed-checkpoint-1"),
        ("rename", "out/checkpoint-2 out/.tmp-removed-checkpoint-2"),
        ("fsync", "out"),
    ]
    assert {what for what, _ in calls[3:]} == {"unlink", "rmdir"}


def test_a_linked_copy_is_synced(store, calls, monkeypatch):
    first = save(store, 1)
    monkeypatch.setattr(os, "link", lambda *arguments: (_ for _ in ()).throw(OSError(errno.EXDEV, "other disk")))
    calls.clear()
    with store.draft("checkpoint-2") as draft:
        draft.reuse("state.safetensors", first)
        assert without_random(calls) == [("fsync", "out/.tmp-draft-checkpoint-2/state.safetensors")]


def test_nothing_heavy_is_imported():
    code = (
        "import sys, tf_hfwb.checkpoint.store; print({'tensorflow', 'keras', 'tf_keras', 'wandb'} & set(sys.modules))"
    )
    assert python("-c", code).stdout.strip() == "set()"
