"""What lies where a file of a checkpoint should: links, FIFOs and devices are neither followed nor waited for.

What is not ours, or not understood, is kept, whatever it is in the way of.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pathlib
import shutil
import signal
import socket

import numpy as np
import pytest

from tf_hfwb.checkpoint.manifest import FileEntry, manifest_of
from tf_hfwb.checkpoint.safetensors_files import chunks
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import CheckpointError, CheckpointWriteError, CorruptCheckpointError

pytestmark = [pytest.mark.core, pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")]

FROZEN = {"x": np.arange(1000, dtype=np.float32)}


def save(store, step, previous=None, name=None, text=""):
    with store.draft(name or f"checkpoint-{step}") as draft:
        draft.write_json("trainer_state.json", {"global_step": step, "text": text})
        if previous is None or not draft.reuse_same("frozen.safetensors", *previous):
            draft.write_tensors("frozen.safetensors", FROZEN)
        with draft.open("deep/er/notes.txt") as file:
            file.write(b"notes")
        return draft.commit()


def like(checkpoint):
    """For ``save``: link the file that did not change."""
    return chunks(FROZEN), checkpoint


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


@pytest.fixture(autouse=True)
def _promptly():
    """Who waits for a FIFO, or reads a device to its end, would do so for ever."""

    def late(number, frame):
        raise AssertionError("This takes too long.")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def outside(path, content):
    """The same content elsewhere, so that nothing but the kind of the entry differs."""
    (out,) = [directory for directory in path.parents if directory.name == "out"]
    place = out.with_name("outside")
    place.mkdir(exist_ok=True)
    elsewhere = place / path.name
    if path.is_dir():
        shutil.copytree(path, elsewhere)
    else:
        elsewhere.write_bytes(content)
    return elsewhere


def link(path):
    elsewhere = outside(path, path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)


def link_to_a_sibling(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere")


def loop(path):
    path.unlink()
    path.symlink_to(path.name)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def directory(path):
    path.unlink()
    path.mkdir()


def unix_socket(path):
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # Its name may not be long.
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


def device(path):
    path.unlink()
    try:
        os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero, which never ends.
    except PermissionError:
        pytest.skip("needs root, to make a device")


KINDS = {
    link: "a symbolic link and not a regular file",
    link_to_a_sibling: "a symbolic link and not a regular file",
    dangling_link: "a symbolic link and not a regular file",
    loop: "a symbolic link and not a regular file",
    fifo: "a FIFO and not a regular file",
    directory: "a directory and not a regular file",
    unix_socket: "a socket and not a regular file",
    device: "a device and not a regular file",
}


@pytest.mark.parametrize("name", ["frozen.safetensors", "deep/er/notes.txt"])
@pytest.mark.parametrize("replace", KINDS)
def test_what_is_no_regular_file_is_refused(store, replace, name):
    save(store, 10)
    checkpoint = save(store, 20)
    replace(checkpoint.path / name)
    for read in (lambda: Checkpoint.open(checkpoint.path), checkpoint.verify, lambda: checkpoint.read_json(name)):
        with pytest.raises(CorruptCheckpointError, match=rf"{name}.*{KINDS[replace]}"):
            read()
    with pytest.raises(CorruptCheckpointError, match=rf"{name}.*{KINDS[replace]}"):
        checkpoint.read_tensors(name)
    newest, passed_over = store.newest_good()
    assert newest.step == 10
    assert [one.sequence for one in passed_over] == [2]


@pytest.mark.parametrize("replace", KINDS)
def test_a_manifest_that_is_no_regular_file_is_refused(store, replace):
    save(store, 10)
    checkpoint = save(store, 20)
    replace(checkpoint.path / "manifest.json")
    with pytest.raises(CorruptCheckpointError, match=rf"manifest\.json cannot be read: it is {KINDS[replace]}"):
        Checkpoint.open(checkpoint.path)
    assert [one.step for one in store.checkpoints()] == [10]
    assert [one.path for one in store.list_all()[1]] == [checkpoint.path]
    save(store, 20)
    assert [one.step for one in store.checkpoints()] == [10, 20]


@pytest.mark.parametrize("within", ["deep", "deep/er"])
def test_a_directory_that_is_a_link_is_not_followed(store, within):
    checkpoint = save(store, 20)
    path = checkpoint.path / within
    elsewhere = outside(path, b"")
    shutil.rmtree(path)
    path.symlink_to(elsewhere)
    for read in (lambda: Checkpoint.open(checkpoint.path), checkpoint.verify):
        with pytest.raises(CorruptCheckpointError, match=r"notes\.txt.*a symbolic link and not a directory"):
            read()
    store.prune(0)
    save(store, 20)
    assert [path.name for path in elsewhere.rglob("*.txt")] == ["notes.txt"]


def test_the_checkpoint_itself_may_be_reached_by_a_link(store, tmp_path):
    checkpoint = save(store, 20)
    (tmp_path / "link").symlink_to(store.path)
    Checkpoint.open(tmp_path / "link" / "checkpoint-20").verify()
    checkpoint.path.rename(tmp_path / "other disk")
    checkpoint.path.symlink_to(tmp_path / "other disk")
    assert store.newest_good()[0].step == 20


def test_a_checkpoint_on_another_disk_is_not_removed_through_its_link(store, tmp_path):
    first = save(store, 10)
    first.path.rename(tmp_path / "other disk")
    first.path.symlink_to(tmp_path / "other disk")
    save(store, 20)
    assert store.prune(1) == [first.path]
    Checkpoint.open(tmp_path / "other disk").verify()
    save(store, 30)
    Checkpoint.open(tmp_path / "other disk").verify()
    assert [one.step for one in store.checkpoints()] == [20, 30]
    assert not [*store.path.glob(".tmp-*")]


# -- what is taken over ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", [*KINDS, lambda path: path.unlink(), lambda path: os.truncate(path, 5)])
def test_a_file_that_is_no_longer_what_it_was_is_written_anew(store, replace):
    first = save(store, 10)
    replace(first.path / "frozen.safetensors")
    second = save(store, 20, like(first))
    third = save(store, 30, like(second))
    shutil.rmtree(first.path)
    shutil.rmtree(store.path.parent / "outside", ignore_errors=True)
    for checkpoint in (second, third):
        Checkpoint.open(checkpoint.path).verify()
    assert os.path.samefile(second.path / "frozen.safetensors", third.path / "frozen.safetensors")
    with pytest.raises(CheckpointError), store.draft("checkpoint-40") as draft:
        draft.reuse("frozen.safetensors", first)


def test_files_of_a_checkpoint_that_has_gone_are_written_anew(store):
    first = save(store, 10)
    shutil.rmtree(first.path)
    save(store, 20, like(first)).verify()


@pytest.mark.parametrize("links", [True, False])
def test_a_link_that_comes_in_between_is_not_taken_over(store, monkeypatch, links):
    first = save(store, 10)
    path, real = first.path / "frozen.safetensors", os.link

    def swapped(source, target):
        """Between the look and the link."""
        link(path)
        if not links:
            raise OSError("no links here")
        real(source, target, follow_symlinks=False)

    monkeypatch.setattr(os, "link", swapped)
    second = save(store, 20, like(first))
    shutil.rmtree(store.path.parent / "outside")
    second.verify()
    assert not (second.path / "frozen.safetensors").is_symlink()


# -- what another tool leaves in a draft -------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", [kind for kind in KINDS if kind is not directory])
def test_a_draft_takes_regular_files_only(store, replace):
    save(store, 10)

    def leave():
        with store.draft("checkpoint-20") as draft:
            (draft.path / "deep").mkdir()
            (draft.path / "deep" / "theirs").write_bytes(b"theirs")
            replace(draft.path / "deep" / "theirs")
            draft.commit()

    with pytest.raises(CheckpointWriteError, match=rf"theirs was left there, .*{KINDS[replace]}.*Expected.*See what"):
        leave()
    assert os.listdir(store.path) == ["checkpoint-10"]


@pytest.mark.parametrize("name", ["manifest.json", "a\nb", "back\\slash", "Trainer_State.json"])
def test_a_draft_takes_names_only_that_can_be_read_again(store, name):
    def leave():
        with store.draft("a") as draft:
            draft.write_json("trainer_state.json", {})
            (draft.path / name).write_text("{}")
            draft.commit()

    with pytest.raises(CheckpointWriteError, match="its manifest would be refused"):
        leave()
    assert os.listdir(store.path) == []


# -- what is in the way ------------------------------------------------------------------------------------------------


def foreign(path):
    (path / "manifest.json").write_text(json.dumps({"format": "orbax", "version": 1, "files": {}}))


def no_object(path):
    (path / "manifest.json").write_text('["precious"]')


def newer(path):
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["digest"]
    (path / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))


def damaged(path):
    (path / "manifest.json").write_text((path / "manifest.json").read_text()[:-20])


def changed(path):
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"sequence": 1', '"sequence": 2'))


def a_link(path):
    path.rename(path.parents[1] / "precious")
    path.symlink_to(path.parents[1] / "precious")


@pytest.mark.parametrize("name", ["checkpoint-20", "model"])
@pytest.mark.parametrize("spoil", [foreign, no_object, newer, damaged, changed, a_link])
def test_what_is_not_understood_is_kept_aside_as_it_is(store, spoil, name, caplog):
    path = save(store, 20, name=name).path
    (path / "somebodys").write_text("precious")
    spoil(path)
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    with caplog.at_level(logging.WARNING):
        save(store, 20, name=name, text="another")
    store.sweep()
    store.prune(0)
    Checkpoint.open(path).verify()
    (aside,) = store.path.glob(f"not-ours-{name}-*")
    assert {file.name: file.read_bytes() for file in aside.iterdir() if file.is_file()} == before
    assert f"{path} was in the way of a checkpoint" in caplog.text
    assert aside.name in caplog.text


@pytest.mark.parametrize("kind", [fifo, dangling_link, unix_socket])
def test_what_is_no_directory_is_kept_aside(store, kind):
    store.path.mkdir()
    (store.path / "checkpoint-20").touch()
    kind(store.path / "checkpoint-20")
    assert store.newest_good() == (None, [])
    save(store, 20)
    assert store.newest_good()[0].step == 20
    assert len([*store.path.glob("not-ours-checkpoint-20-*")]) == 1


def replaced(store):
    save(store, 20, text="another")


def pruned(store):
    save(store, 30)
    assert [path.name for path in store.prune(1)] == ["checkpoint-20"]


def killed_while_it_was_removed(store):
    os.rename(store.path / "checkpoint-20", store.path / ".tmp-removed-checkpoint-20-0a1b2c3d")
    store.sweep()


def killed_while_it_was_replaced(store):
    os.rename(store.path / "checkpoint-20", store.path / ".tmp-replaced-checkpoint-20-0a1b2c3d")
    save(store, 20)
    store.sweep()


@pytest.mark.parametrize("remove", [replaced, pruned, killed_while_it_was_removed, killed_while_it_was_replaced])
def test_notes_in_a_checkpoint_that_goes_are_kept(store, remove, caplog):
    path = save(store, 20).path
    (path / "notes.txt").write_text("the good one")
    (path / "deep" / "more.txt").write_text("really")
    (path / "deep" / "link").symlink_to("/etc/passwd")
    with caplog.at_level(logging.WARNING):
        remove(store)
    (aside,) = store.path.glob("not-ours-checkpoint-20-*")
    kept = sorted(file.relative_to(aside).as_posix() for file in aside.rglob("*"))
    assert kept == ["deep", "deep/link", "deep/more.txt", "notes.txt"]
    assert (aside / "notes.txt").read_text() == "the good one"
    assert f"{aside} holds what this package has not written, and is kept" in caplog.text
    assert not [*store.path.glob(".tmp-*")]
    store.sweep()
    assert aside.exists()


def test_a_checkpoint_of_ours_alone_goes_without_a_trace(store, caplog):
    for step in (10, 20, 30):
        save(store, step)
    store.prune(1)
    assert os.listdir(store.path) == ["checkpoint-30"]
    assert caplog.text == ""


def test_files_beyond_a_link_in_a_checkpoint_that_goes_are_left_alone(store):
    path = save(store, 20).path
    elsewhere = outside(path / "deep", b"")
    shutil.rmtree(path / "deep")
    (path / "deep").symlink_to(elsewhere)
    os.rename(path, store.path / ".tmp-removed-checkpoint-20-0a1b2c3d")
    store.sweep()
    assert (elsewhere / "er" / "notes.txt").read_text() == "notes"
    (aside,) = store.path.glob("not-ours-*")
    assert os.listdir(aside) == ["deep"]


def test_sweeping_takes_only_directories_with_a_whole_temporary_name(store, tmp_path):
    save(store, 10)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    kept = [".tmp-draft-of-my-thesis", ".tmp-removed-", ".tmp-draft-checkpoint-5-0A1B2C3D", ".tmp-replaced-x-0a1b2c3"]
    for name in (*kept, ".tmp-draft-checkpoint-5-0a1b2c3d"):
        (store.path / name).mkdir()
        (store.path / name / "file").touch()
    (store.path / ".tmp-draft-file-0a1b2c3d").touch()
    (store.path / ".tmp-draft-link-0a1b2c3d").symlink_to(tmp_path / "precious")
    (store.path / ".tmp-removed-link-0a1b2c3d").symlink_to(tmp_path / "precious")
    store.sweep()
    assert (tmp_path / "precious" / "file").exists()
    here = [name for name in os.listdir(store.path) if not name.startswith("not-ours-link-")]
    assert sorted(here) == sorted([*kept, "checkpoint-10", ".tmp-draft-file-0a1b2c3d", ".tmp-draft-link-0a1b2c3d"])


def test_a_link_in_the_place_of_a_replaced_one_is_not_overwritten(store):
    path = save(store, 10).path
    os.rename(path, store.path / ".tmp-replaced-checkpoint-10-0a1b2c3d")
    path.symlink_to("nowhere")
    assert store.checkpoints() == []
    store.sweep()
    assert os.readlink(path) == "nowhere"


@pytest.mark.parametrize("replace", [kind for kind in KINDS if kind is not loop])
def test_a_lock_that_is_no_regular_file_is_refused(store, replace):
    store.path.mkdir()
    (store.path / ".tf_hfwb.lock").write_text("precious")
    replace(store.path / ".tf_hfwb.lock")
    with pytest.raises(CheckpointWriteError, match=rf"\.tf_hfwb\.lock could not be written: it is {KINDS[replace]}"):
        store.exclusive().__enter__()
    for path in store.path.parent.rglob("*"):
        assert not path.is_file() or path.read_text() == "precious"


# -- the manifest's digest of itself -----------------------------------------------------------------------------------


def test_one_changed_character_of_a_manifest_is_found(store):
    save(store, 10)
    path = save(store, 20).path / "manifest.json"
    text, found = path.read_text(), 0
    for at, character in enumerate(text):
        if not character.isalnum():
            continue
        other = "1" if character == "0" else "0" if character.isdigit() else character.swapcase()
        path.write_text(text[:at] + other + text[at + 1 :])
        if '"digest"' not in path.read_text():  # Then it is one of an earlier release, which had none.
            continue
        found += 1
        with pytest.raises(CorruptCheckpointError, match="is no manifest"):
            Checkpoint.open(path.parent)
    assert found > 300
    path.write_text(text)
    Checkpoint.open(path.parent).verify()


def test_a_changed_sequence_makes_no_older_one_the_newest(store):
    for step in (10, 20, 30):
        save(store, step)
    path = store.path / "checkpoint-10" / "manifest.json"
    path.write_text(path.read_text().replace('"sequence": 1', '"sequence": 9'))
    newest, passed_over = store.newest_good()
    assert newest.step == 30
    assert [(one.path.name, one.sequence) for one in passed_over] == [("checkpoint-10", None)]
    assert "does not agree with its own digest" in passed_over[0].reason


@pytest.mark.parametrize("digest", [None, "", 1, [], "0" * 64])
def test_a_digest_that_is_none_is_refused(store, digest):
    path = save(store, 10).path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": digest}))
    with pytest.raises(CorruptCheckpointError, match="its own digest"):
        Checkpoint.open(path.parent)


def test_a_manifest_may_be_written_in_other_ways_and_without_its_digest(store):
    path = save(store, 10).path / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(manifest.items())), separators=(" , ", ":\t")))
    Checkpoint.open(path.parent).verify()
    del manifest["digest"]
    path.write_text(json.dumps(manifest))
    Checkpoint.open(path.parent).verify()
    assert store.checkpoints()[0].sequence == 1


def test_the_digest_is_the_one_that_the_format_describes():
    directory = pathlib.Path(__file__).parents[1] / "docs"
    text = (directory / "checkpoint-format.md").read_text()
    example = json.loads(text.split("```json\n")[1].split("```")[0])
    files = {name: FileEntry(entry["size"], entry["sha256"]) for name, entry in example["files"].items()}
    assert json.loads(manifest_of(files, example["sequence"])) == example
    canonical = text.split("```text\n{")[1].split("```")[0].strip()
    assert hashlib.sha256(("{" + canonical).encode()).hexdigest() == example["digest"]
