"""Saving processes that are killed: at random moments, and at each step that they ask of the system.

The processes are forked from a small one that has imported nothing but the store, so that hundreds of kills take
seconds. They are killed for real, by SIGKILL.
"""

from __future__ import annotations

import json
import subprocess

import pytest
from helpers import nightly, python

pytestmark = pytest.mark.slow

COMMON = """
import contextlib, json, os, pathlib, random, shutil, signal, struct, sys, time
import numpy as np
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import *

FROZEN = {"frozen": np.arange(40_000, dtype=np.float32)}

def tensors(step, attempt):
    return {"x": np.full(20_000, step, np.float32), "attempt": np.array(attempt)}

def save(store, step, attempt=0, previous=None, name=None):
    with store.draft(name or f"checkpoint-{step}") as draft:
        draft.write_tensors("state.safetensors", tensors(step, attempt))
        draft.write_json("deep/trainer_state.json", {"step": step, "attempt": attempt})
        if previous is None:
            draft.write_tensors("frozen.safetensors", FROZEN)
        else:
            draft.reuse("frozen.safetensors", previous)
        (draft.path / "vocab").mkdir()
        (draft.path / "vocab" / "words.txt").write_text("words" * 1000)
        return draft.commit()

def check(checkpoint, step=None):
    "Whole, and of one save: not a mixture of two."
    Checkpoint.open(checkpoint.path).verify()
    facts = checkpoint.read_json("deep/trainer_state.json")
    found = checkpoint.read_tensors("state.safetensors")
    assert (found["x"] == facts["step"]).all(), checkpoint.path
    assert found["attempt"] == facts["attempt"], checkpoint.path
    assert facts["step"] == (checkpoint.step if step is None else step), checkpoint.path
    assert sorted(checkpoint.files) == [
        "deep/trainer_state.json", "frozen.safetensors", "state.safetensors", "vocab/words.txt"
    ]
    return facts

def fork(work):
    "Runs ``work(report)`` in a process of its own; gives its id and where its reports arrive."
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(lambda *numbers: os.write(writing, struct.pack("<qq", *numbers)))
            status = 0
        except BaseException:
            import traceback; traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    return child, reading

def reports(reading):
    with os.fdopen(reading, "rb") as pipe:
        return list(struct.iter_unpack("<qq", pipe.read()))

def leftovers(store):
    return [path.name for path in store.path.glob(".tmp-*")]
"""

RANDOM = (
    COMMON
    + """
root, kills, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store, dice = Store(root / "out"), random.Random(seed)
KEEP = 1

def work(report):
    "Save as fast as possible, as a training does that is started again."
    with store.exclusive():
        store.sweep()
        assert leftovers(store) == []
        store.prune(2, [KEEP])  # What was killed between a save and this.
        there = store.checkpoints()
        previous = there[-1] if there else None
        step = previous.step if previous else 0
        attempt = os.getpid()
        if previous:
            previous = save(store, step, attempt, previous)  # The newest one again, with other contents.
            report(step, attempt)
        while True:
            step += 1
            previous = save(store, step, attempt, previous)
            report(step, attempt)
            store.prune(2, [KEEP])

began = time.perf_counter()
for step in range(5):
    save(Store(root / "warm-up"), step)
span = (time.perf_counter() - began) / 5 * 4  # On any machine a few saves fit in,

known, attempts, saves, seen = 0, set(), 0, {}
for number in range(kills):
    child, reading = fork(work)
    time.sleep(dice.uniform(0, span))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the saving process failed by itself"
    told = reports(reading)
    saves += len(told)
    span *= 0.8 if told else 1.1  # also when it has become slower.
    attempts.add(child)  # It may have committed what it could not report any more.
    if told:
        known, attempts = told[-1][0], {child}
    for name in leftovers(store) or ["none"]:
        kind = name.split("-")[1] if "-" in name else name
        seen[kind] = seen.get(kind, 0) + 1
    listed = store.checkpoints()
    assert store.list_all()[1] == []
    newest, passed_over = store.newest_good()
    assert passed_over == []
    assert (newest.step if newest else 0) >= known, (number, newest, known)
    for checkpoint in listed:
        facts = check(checkpoint)
        if checkpoint.step == known:
            assert facts["attempt"] in attempts, (number, facts, attempts)
    steps = [checkpoint.step for checkpoint in listed]
    assert len(steps) <= 4, steps
    assert known < 1 or KEEP in steps, steps
with store.exclusive():
    store.sweep()
assert leftovers(store) == []
print(json.dumps({"saves": saves, "newest": newest.step, "leftovers": seen}))
"""
)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", ["1", "2"])
def test_killed_at_random_moments(tmp_path, seed):
    report = json.loads(python("-c", RANDOM, str(tmp_path), "150", seed).stdout)
    assert report["saves"] >= 10
    # The kills did come in between.
    assert report["leftovers"]["draft"] >= 20


STEPS = (
    COMMON
    + """
root, story = pathlib.Path(sys.argv[1]), sys.argv[2]
CALLS = ["fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "open", "close", "truncate"]

def prepare(store):
    if story == "first":
        return
    first = save(store, 10)
    save(store, 20, previous=first)
    save(store, 10, name="model")
    if story == "in the way":
        (store.path / "checkpoint-30").mkdir()
        (store.path / "checkpoint-30" / "pytorch_model.bin").write_text("precious")
    elif story == "not understood":
        save(store, 30)
        (store.path / "checkpoint-30" / "manifest.json").write_text('{"format": "another"}')
        (store.path / "checkpoint-30" / "pytorch_model.bin").write_text("precious")
    elif story in ("prune notes", "replace notes"):
        step = 10 if story == "prune notes" else 20
        (store.path / f"checkpoint-{step}" / "deep" / "pytorch_model.bin").write_text("precious")

def act(store):
    there = store.checkpoints()
    previous = there[-1] if there else None
    if story in ("first", "commit", "in the way", "not understood"):
        save(store, 30, 1, previous)
    elif story in ("replace", "replace notes"):
        save(store, 20, 1, previous)
    elif story == "replace model":
        save(store, 20, 1, previous, name="model")
    elif story in ("prune", "prune notes"):
        store.prune(1)
    elif story == "sweep":
        old = next(store.path.glob("checkpoint-20"), None)
        if old:
            os.rename(old, store.path / ".tmp-replaced-checkpoint-20-0a1b2c3d")
        store.sweep()

def work_until(number, store):
    def work(report):
        count = 0
        def watched(real):
            def call(*arguments, **options):
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)
            return call
        for name in CALLS:
            setattr(os, name, watched(getattr(os, name)))
        with store.exclusive():
            act(store)
            report(1, 1)
    return work

def check_all(store, done):
    assert [one.path.name for one in store.list_all()[1]] in ([], ["checkpoint-30"] * (story == "not understood"))
    listed = {checkpoint.step: check(checkpoint)["attempt"] for checkpoint in store.checkpoints()}
    before, after = {
        "first": ({}, {30: 1}),
        "commit": ({10: 0, 20: 0}, {10: 0, 20: 0, 30: 1}),
        "in the way": ({10: 0, 20: 0}, {10: 0, 20: 0, 30: 1}),
        "not understood": ({10: 0, 20: 0}, {10: 0, 20: 0, 30: 1}),
        "replace": ({10: 0, 20: 0}, {10: 0, 20: 1}),
        "replace notes": ({10: 0, 20: 0}, {10: 0, 20: 1}),
        "replace model": ({10: 0, 20: 0}, {10: 0, 20: 0}),
        "prune": ({10: 0, 20: 0}, {20: 0}),
        "prune notes": ({10: 0, 20: 0}, {20: 0}),
        "sweep": ({10: 0, 20: 0}, {10: 0, 20: 0}),
    }[story]
    assert listed == after if done else listed in (before, after), (listed, done)
    if story in ("in the way", "not understood", "prune notes", "replace notes"):
        (bin,) = store.path.rglob("pytorch_model.bin")
        assert bin.read_text() == "precious"
    if story != "first":
        model = Checkpoint.open(store.path / "model")
        step = model.read_json("deep/trainer_state.json")["step"]
        check(model, step)
        assert step in ([20] if done and story == "replace model" else [10, 20]), step
    return listed == after and (story != "replace model" or step == 20)

number, outcomes = 0, []
while True:
    number += 1
    store = Store(root / story / str(number))
    prepare(store)
    child, reading = fork(work_until(number, store))
    _, status = os.waitpid(child, 0)
    done = bool(reports(reading))
    outcomes.append(check_all(store, done))
    with store.exclusive():  # The next process: takes the lock, and does it again.
        store.sweep()
        assert leftovers(store) == []
        check_all(store, done)
        act(store)
    check_all(store, True)
    assert leftovers(store) == []
    shutil.rmtree(store.path)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the saving process failed by itself"
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(json.dumps([number, outcomes]))
"""
)


@pytest.mark.parametrize(
    ("story", "at_least"),
    [
        *[("first", 15), ("commit", 15), ("replace", 20), ("prune", 8), ("sweep", 3)],
        *[nightly("in the way", 15), nightly("replace model", 20), nightly("replace notes", 20)],
        *[nightly("not understood", 15), nightly("prune notes", 12)],
    ],
)
def test_killed_at_each_step(tmp_path, story, at_least):
    number, outcomes = json.loads(python("-c", STEPS, str(tmp_path), story).stdout)
    assert number >= at_least
    assert outcomes[-1]
    if story != "sweep":
        assert not outcomes[0]
        assert outcomes == sorted(outcomes)  # First never there, then always: one moment decides.


LIMITED = (
    COMMON
    + """
import resource
store = Store(sys.argv[1])
first = save(store, 10)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for write in (
    lambda draft: draft.write_tensors("large", {"x": np.zeros(100_000)}),
    lambda draft: (draft.path / "theirs").write_bytes(bytes(800_000)),
):
    try:
        with store.draft("checkpoint-20") as draft:
            draft.write_json("small.json", 1)
            write(draft)
            draft.commit()
    except CheckpointWriteError as error:
        print(error)
assert os.listdir(store.path) == ["checkpoint-10"]
check(store.newest_good()[0])
"""
)


def test_a_file_that_cannot_be_written_to_its_end(tmp_path):
    lines = python("-c", LIMITED, str(tmp_path / "out")).stdout.splitlines()
    assert len(lines) == 2
    assert all("checkpoint-20 could not be written: File too large" in line for line in lines)


FULL = (
    COMMON
    + """
disk = pathlib.Path(sys.argv[1])
def mount(options):
    import subprocess
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)

mount("size=1500k")
store, failed = Store(disk / "out"), []
with store.exclusive():
    step, previous = 0, None
    while len(failed) < 3:  # The disk fills up; then one more place is made, and it goes on.
        step += 1
        try:
            previous = save(store, step)
        except CheckpointWriteError as error:
            assert isinstance(error.__cause__, OSError)
            failed.append(str(error))
            assert [c.step for c in store.checkpoints()][-1] == previous.step
            for checkpoint in store.checkpoints():
                check(checkpoint)
            assert leftovers(store) == []
            store.prune(1)
assert step > 6
mount("remount,ro")
for write in (lambda: store.exclusive().__enter__(), lambda: save(store, 100), lambda: save(Store(disk / "new"), 1)):
    try:
        write()
    except CheckpointWriteError as error:
        failed.append(str(error))
assert check(store.newest_good()[0])
print(json.dumps(failed))
"""
)


def test_a_full_disk_and_a_read_only_one(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    alone = ["unshare", "--mount"]  # What is mounted is gone with the process.
    try:
        subprocess.run([*alone, "mount", "-t", "tmpfs", "tmpfs", str(disk)], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root, to mount a small disk")
    run = f"import subprocess, sys; sys.exit(subprocess.run([*{alone}, sys.executable, *sys.argv[1:]]).returncode)"
    failed = json.loads(python("-c", run, "-c", FULL, str(disk)).stdout)
    assert len(failed) == 6
    assert all("No space left on device (0 MiB are free" in message for message in failed[:3])
    assert all("Read-only file system" in message for message in failed[3:])
