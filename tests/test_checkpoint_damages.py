"""Checkpoints that are damaged at random, by a disk or by somebody: found, told in one error, never gone on from."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal

import numpy as np
import pytest
from helpers import nightly

from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import CorruptCheckpointError, NotACheckpointError

pytestmark = [pytest.mark.core, pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")]


def save(store, step):
    with store.draft(f"checkpoint-{step}") as draft:
        draft.write_json("trainer_state.json", {"global_step": step})
        draft.write_tensors("state.safetensors", {"x": np.full(9, step, np.float32)})
        with draft.open("deep/er/notes.txt") as file:
            file.write(b"notes")
        return draft.commit()


def contents(path):
    """What a reader may take from a checkpoint: the manifest's sequence and all files."""
    files = Checkpoint.read_manifest(path).files
    return Checkpoint.read_manifest(path).sequence, {name: (path / name).read_bytes() for name in files}


# -- damages of a file -------------------------------------------------------------------------------------------------


def flip(path, dice):
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def cut(path, dice):
    os.truncate(path, dice.randrange(path.stat().st_size))


def grow(path, dice):
    path.write_bytes(path.read_bytes() + dice.randbytes(dice.randrange(1, 5000)))


def scatter(path, dice):
    path.write_bytes(dice.randbytes(path.stat().st_size))


def remove(path, dice):
    path.unlink()


def link(path, dice):
    path.rename(path.parents[3] / "elsewhere")
    path.symlink_to(path.parents[3] / "elsewhere")


def fifo(path, dice):
    path.unlink()
    os.mkfifo(path)


def directory(path, dice):
    path.unlink()
    path.mkdir()


def swap(path, dice):
    (root,) = [parent for parent in path.parents if parent.name == "checkpoint-20"]
    other = dice.choice([file for file in root.rglob("*") if file.is_file() and file != path])
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def older(path, dice):
    """The same file of another checkpoint, as after a copy that was interrupted."""
    shutil.copy(str(path).replace("checkpoint-20", "checkpoint-10"), path)


FILE_DAMAGES = [flip, cut, grow, scatter, remove, link, fifo, directory, swap, older]

# -- damages of the manifest, with a digest that agrees ----------------------------------------------------------------

VALUES = [
    *[None, True, False, 0, -1, 1, 3, 2**63, 10**40, 0.5, float("inf"), float("nan"), "", "1", "\ud800", "\0", "é"],
    *[[], {}, [[]], {"size": 5}, "a" * 10_000, "../../../etc/passwd", "/etc/passwd", "C:x", "./a", "a//b", "0" * 64],
]


def places(value, path=()):
    """Where something stands in nested values: the way to it."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def edited(manifest, dice):
    way = dice.choice([*places(manifest)][1:])
    inner = manifest
    for key in way[:-1]:
        inner = inner[key]
    kind, value = dice.randrange(4), copy.deepcopy(dice.choice(VALUES))
    if kind == 0:
        del inner[way[-1]]
    elif kind == 1 and isinstance(inner, dict):
        inner[str(value)] = inner.pop(way[-1])
    elif kind == 2 and isinstance(inner, dict):
        inner[str(dice.choice(VALUES))] = value
    else:
        inner[way[-1]] = value
    return manifest


def rewrite(path, dice):
    """As somebody does who computes the digest anew, or leaves it out."""
    manifest = json.loads(path.read_text())
    for _ in range(dice.randrange(1, 3)):
        manifest = edited(manifest, dice)
    manifest.pop("digest", None)
    if dice.random() < 0.8:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
        manifest["digest"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(manifest))


@pytest.fixture
def _promptly():
    def late(number, frame):
        raise AssertionError("This takes too long.")

    before = signal.signal(signal.SIGALRM, late)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("first", "number"), [(0, 300), nightly(300, 10_000)])
@pytest.mark.usefixtures("_promptly")
def test_no_damage_is_gone_on_from_in_silence(tmp_path, first, number):
    template = Store(tmp_path / "template" / "out")
    for step in (10, 20):
        save(template, step)
    whole = {step: contents(template.path / f"checkpoint-{step}") for step in (10, 20)}
    outcomes = {"refused": 0, "as it was": 0, "another": 0}
    for seed in range(first, first + number):
        dice = random.Random(seed)
        root = tmp_path / str(seed) / "deep"
        store = Store(root / "out")
        shutil.copytree(template.path, store.path)
        path = store.path / "checkpoint-20"
        files = sorted(file for file in path.rglob("*") if file.is_file())
        is_rewritten = dice.random() < 0.5
        if is_rewritten:
            rewrite(path / "manifest.json", dice)
        else:
            dice.choice(FILE_DAMAGES)(dice.choice(files), dice)
        signal.alarm(5)
        try:
            outcomes[outcome(store, path, whole, is_rewritten)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        signal.alarm(0)
        if seed % 10 == 0:  # Whatever is there: the training goes on, and its checkpoint counts.
            save(store, 20)
            assert store.newest_good()[0].step == 20, seed
        shutil.rmtree(root)
    assert outcomes["refused"] > number // 2
    assert outcomes["as it was"] < number // 3


def outcome(store: Store, path: pathlib.Path, whole, is_rewritten: bool) -> str:
    try:
        checkpoint = Checkpoint.open(path)
        checkpoint.verify()
        for name in checkpoint.files:
            if name.endswith(".json"):
                checkpoint.read_json(name)
    except (CorruptCheckpointError, NotACheckpointError) as error:
        problem = str(error)
    else:
        for name in checkpoint.files:
            assert (path / name).resolve().is_relative_to(path.resolve())
        if contents(path) == whole[20]:
            return "as it was"
        assert is_rewritten  # Who can write there can write a checkpoint; nothing outside is read for all that.
        return "another"
    assert len(problem) < 6000
    newest, passed_over = store.newest_good()
    assert newest.step == 10
    if os.path.lexists(path / "manifest.json") and not is_rewritten:  # Or it may say that it is an older one.
        assert [one.path for one in passed_over] == [path]
    return "refused"
