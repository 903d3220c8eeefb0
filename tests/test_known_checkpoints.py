"""A process that saves remembers what lies in its directory, and notices what others do there."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

import pytest

from tf_hfwb.checkpoint.store import Checkpoint, Store

pytestmark = pytest.mark.core


def save(store, step):
    with store.draft(f"checkpoint-{step}") as draft:
        draft.write_json("facts.json", {"step": step})
        return draft.commit()


def steps(store):
    return [checkpoint.step for checkpoint in store.checkpoints()]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


_opened: list[str] = []
_is_listening = False


def _hear(event: str, arguments: tuple) -> None:
    if _is_listening and event == "open" and str(arguments[0]).endswith("manifest.json"):
        _opened.append(str(arguments[0]))


sys.addaudithook(_hear)


def test_a_save_reads_no_manifest_of_the_checkpoints_before(store):
    global _is_listening
    for step in range(1, 21):
        save(store, step)
        store.prune(10)
    _opened.clear()
    _is_listening = True
    try:
        for step in range(21, 24):
            save(store, step)
            store.prune(10)
    finally:
        _is_listening = False
    # Of each it writes one, and reads that of the one that it removes.
    assert len(_opened) <= 3 * 4
    assert [one.sequence for one in store.checkpoints()] == list(range(14, 24))


def test_a_checkpoint_that_somebody_puts_there_counts(store, tmp_path):
    for step in (1, 2):
        save(store, step)
    other = Store(tmp_path / "other")
    for step in range(10, 20):
        save(other, step)
    shutil.copytree(other.path / "checkpoint-19", store.path / "checkpoint-19")
    assert save(store, 3).sequence == 11
    assert steps(store) == [1, 2, 19, 3]
    assert [path.name for path in store.prune(2)] == ["checkpoint-1", "checkpoint-2"]


def test_a_checkpoint_that_somebody_removes_does_not_count(store):
    for step in (1, 2, 3, 4):
        save(store, step)
    time.sleep(0.02)  # Until time stamps differ.
    shutil.rmtree(store.path / "checkpoint-3")
    assert [path.name for path in store.prune(2)] == ["checkpoint-1"]
    assert steps(store) == [2, 4]


def test_one_that_has_lost_a_file_does_not_count_as_whole(store):
    for step in (1, 2, 3):
        save(store, step)
    store.prune(3)
    time.sleep(0.02)
    (store.path / "checkpoint-2" / "facts.json").unlink()
    save(store, 4)
    assert [path.name for path in store.prune(2)] == ["checkpoint-1"]
    assert (store.path / "checkpoint-2").is_dir()


def test_two_stores_of_one_directory_number_their_saves_on(store, tmp_path):
    other = Store(tmp_path / "out")
    sequences = []
    for step in range(1, 7):
        time.sleep(0.02)
        sequences.append(save((store, other)[step % 2], step).sequence)
    assert sequences == [1, 2, 3, 4, 5, 6]


def test_a_save_of_the_same_step_replaces_what_was_known(store):
    save(store, 1)
    save(store, 2)
    with store.draft("checkpoint-1") as draft:
        draft.write_json("facts.json", {"step": "another"})
        assert draft.commit().sequence == 3
    assert [path.name for path in store.prune(1)] == ["checkpoint-2"]
    assert json.loads((store.path / "checkpoint-1/facts.json").read_text()) == {"step": "another"}


def test_a_directory_that_was_made_anew_is_read_anew(store):
    for step in range(1, 6):
        save(store, step)
    shutil.rmtree(store.path)
    assert save(store, 1).sequence == 1
    assert [Checkpoint.open(store.path / name).step for name in os.listdir(store.path)] == [1]
