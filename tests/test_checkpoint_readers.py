"""Reading beside another process that saves and removes checkpoints: a real one, which does nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import nightly

from tf_hfwb.checkpoint import manifest
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import DirectoryInUseError, NotACheckpointError

pytestmark = pytest.mark.core

WRITER = """
import sys, time
import numpy as np
from tf_hfwb.checkpoint.store import Store

def save(store, step, name=None):
    with store.draft(name or f"checkpoint-{step}") as draft:
        draft.write_json("trainer_state.json", {"global_step": step, "now": time.time()})
        draft.write_tensors("state.safetensors", {"x": np.full(50_000, step, np.float32)})
        (draft.path / "assets").mkdir()
        (draft.path / "assets" / "words.txt").write_text("words")
        draft.commit()

store, step = Store(sys.argv[1]), 0
with store.exclusive():
    store.sweep()
    while True:
        step += 1
        save(store, step)
        save(store, step, "model")
        store.prune(1)
        STEP
"""
# As fast as can be, and with another one of the same name, too; or one at a time, when it is asked for.
IN_A_LOOP = WRITER.replace("STEP", "save(store, step); print(step, flush=True) if step == 1 else None")
WHEN_ASKED = WRITER.replace("STEP", "print(step, flush=True); sys.stdin.readline() or sys.exit()")


class Writer:
    """The other process, from its first checkpoint on."""

    def __init__(self, code, path):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code, str(path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def __enter__(self):
        assert self.process.stdout.readline() == "1\n"
        return self

    def __exit__(self, *error):
        assert self.process.poll() is None, "the saving process has failed"
        self.process.kill()
        self.process.communicate()

    def next(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.mark.parametrize("seconds", [4, nightly(60)])
def test_there_is_always_one_where_there_was_always_one(tmp_path, seconds):
    store, seen = Store(tmp_path / "out"), set()
    with Writer(IN_A_LOOP, store.path):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            listed = store.checkpoints()
            assert 1 <= len(listed) <= 2
            assert listed == sorted(listed, key=lambda checkpoint: checkpoint.sequence)
            assert store.list_all()[1] == []
            newest, passed_over = store.newest_good()
            assert passed_over == []
            assert newest.sequence >= max(seen, default=0)
            seen.add(newest.sequence)
            with contextlib.suppress(NotACheckpointError):  # It may go at any time.
                facts = newest.read_json("trainer_state.json")
                tensors = newest.read_tensors("state.safetensors")
                assert facts["global_step"] == newest.step == tensors["x"][0]
            assert Checkpoint.open(store.path / "model").step is None
    assert len(seen) > 10


def when_it_is_verified(monkeypatch, act):
    """Have something happen after a file has been opened and before it is hashed."""
    hashed = manifest.digest_of_file

    def digest(file, pace=None):
        act()
        return hashed(file, pace)

    monkeypatch.setattr(manifest, "digest_of_file", digest)


def test_what_goes_while_it_is_verified_is_looked_for_again(tmp_path, monkeypatch):
    store = Store(tmp_path / "out")
    with Writer(WHEN_ASKED, store.path) as writer:
        saved = iter(range(3))
        when_it_is_verified(monkeypatch, lambda: next(saved, None) is not None and writer.next())
        newest, passed_over = store.newest_good()
    assert newest.step == 4
    assert passed_over == []
    newest.verify()


def test_one_that_never_stays_is_no_fresh_start(tmp_path, monkeypatch):
    store = Store(tmp_path / "out")
    monkeypatch.setattr("tf_hfwb.checkpoint.store.LOOKS", 3)
    with Writer(WHEN_ASKED, store.path) as writer:
        when_it_is_verified(monkeypatch, writer.next)
        with pytest.raises(DirectoryInUseError, match=r"Another process .*out, and removes each .*Expected .*Wait"):
            store.newest_good()


def test_one_that_has_come_while_others_were_passed_over_is_taken(tmp_path, monkeypatch):
    store, saved = Store(tmp_path / "out"), []

    def save(step):
        with store.draft(f"checkpoint-{step}") as draft:
            draft.write_tensors("x", {"x": np.full(5, step)})
            saved.append(draft.commit())

    save(10)
    save(20)
    (store.path / "checkpoint-20" / "x").write_bytes(bytes(saved[-1].files["x"].size))
    when_it_is_verified(monkeypatch, lambda: save(30) if len(saved) == 2 else None)
    newest, passed_over = store.newest_good()
    assert newest.step == 30
    assert passed_over == []


def test_a_checkpoint_that_goes_while_it_is_read_is_said_to_be_gone(tmp_path):
    store = Store(tmp_path / "out")
    with Writer(WHEN_ASKED, store.path) as writer:
        (checkpoint,) = store.checkpoints()
        assert checkpoint.is_there()
        writer.next()
        assert not checkpoint.is_there()
        for read in (
            checkpoint.verify,
            checkpoint.check_sizes,
            lambda: checkpoint.read_json("trainer_state.json"),
            lambda: checkpoint.read_tensors("state.safetensors"),
            lambda: checkpoint.open_file("assets/words.txt"),
        ):
            with pytest.raises(NotACheckpointError, match=r"checkpoint-1 has gone: .*Expected it to stay.*Look for"):
                read()


@pytest.mark.parametrize(
    "look",
    [
        lambda store: Checkpoint.open(store.path / "checkpoint-1"),
        lambda store: store.newest_good()[0],
        lambda store: store.checkpoints()[0],
    ],
)
def test_what_is_just_being_replaced_is_waited_for(tmp_path, look):
    store = Store(tmp_path / "out")
    path, renamed = store.path / "checkpoint-1", store.path / ".tmp-replaced-checkpoint-1-0a1b2c3d"
    with Writer(WHEN_ASKED, store.path):  # Which holds the directory.
        os.rename(path, renamed)
        threading.Timer(0.1, os.rename, (renamed, path)).start()
        assert look(store).step == 1


def test_looking_costs_no_pause_when_nothing_comes_or_goes(tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: 1 / 0)
    assert store.newest_good() == (None, [])
    (tmp_path / "checkpoint-5").mkdir()
    with store.draft("checkpoint-1") as draft:
        draft.commit()
    assert store.newest_good()[0].step == 1
