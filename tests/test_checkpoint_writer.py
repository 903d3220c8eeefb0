"""The thread that writes checkpoints: order, how many wait, hurry, errors."""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
import time

import pytest
from helpers import python

from tf_hfwb.checkpoint.background_writer import BackgroundWriter
from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.resume.find_checkpoint import find_local_path

pytestmark = pytest.mark.core


@pytest.fixture
def writer():
    writer = BackgroundWriter("out")
    yield writer
    writer.flush()


def test_one_runs_one_waits_and_a_third_blocks_and_says_so_once(writer, caplog):
    gate, started, done = threading.Event(), threading.Event(), []

    def first(pace):
        started.set()
        gate.wait()
        done.append(1)

    writer.submit(first)
    started.wait()
    writer.submit(lambda pace: done.append(2))  # Waits, and does not block.
    assert not done
    threading.Timer(0.1, gate.set).start()
    began = time.monotonic()
    assert writer.waited == 0
    writer.submit(lambda pace: done.append(3))
    assert 0.05 < writer.waited <= time.monotonic() - began
    assert done[0] == 1
    before = writer.waited
    gate.clear()
    started.clear()
    writer.submit(first)
    started.wait()
    writer.submit(lambda pace: None)
    threading.Timer(0.1, gate.set).start()
    writer.submit(lambda pace: None)
    writer.flush()
    assert done == [1, 2, 3, 1]
    assert writer.waited > before + 0.05
    assert not caplog.records


def test_it_rests_unless_somebody_waits(writer):
    taken = []

    def job(pace):
        for _ in range(20):
            pace(4 << 20)
        taken.append(time.monotonic())

    began = time.monotonic()
    writer.submit(job)
    while not taken:
        time.sleep(0.001)
    calm = taken.pop() - began
    began = time.monotonic()
    writer.submit(job)
    writer.flush()
    assert calm >= 0.1
    assert taken.pop() - began < calm / 2


def test_it_does_not_rest_while_another_job_waits(writer):
    started, taken = threading.Event(), []

    def job(pace):
        started.wait()
        began = time.monotonic()
        hurries = [pace(4 << 20) for _ in range(20)]
        taken.append(time.monotonic() - began)
        assert not any(hurries)  # That would take the second core.

    writer.submit(job)
    writer.submit(job)
    started.set()
    while len(taken) < 2:
        time.sleep(0.001)
    assert taken[1] >= 0.1
    assert taken[0] < taken[1] / 2


def test_an_error_ends_its_job_and_is_told_once(writer):
    done = []

    def fail(pace):
        raise OSError(28, "No space left on device")

    writer.submit(fail)
    writer.submit(lambda pace: done.append(1))
    writer.flush()
    assert done == [1]
    assert "No space" in str(writer.take_error())
    assert writer.take_error() is None


def test_errors_that_nobody_has_taken_are_logged_with_the_end_of_the_writer(caplog):
    def fail(pace):
        raise OSError("the disk is full")

    writer = BackgroundWriter("out")
    writer.submit(fail)
    writer.flush()
    wait_for_writers()
    assert caplog.text == ""
    del writer
    gc.collect()
    assert caplog.text.count("the disk is full") == 1


def test_a_state_is_let_go_as_soon_as_it_is_written(writer):
    import weakref

    class State:
        pass

    state = State()
    reference = weakref.ref(state)
    writer.submit(lambda pace, state=state: None)
    del state
    writer.flush()
    time.sleep(0.05)
    assert reference() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a priority of its own")
def test_it_is_of_the_lowest_priority_and_training_is_not(writer):
    found = []

    def look(pace):
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    writer.submit(look)
    while not found:  # Not by flush, which raises it where that is allowed.
        time.sleep(0.001)
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 19


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tf_hfwb-checkpoints"]


def test_its_thread_ends_when_nothing_is_left_and_starts_again(writer):
    done = []
    for number in range(3):
        writer.submit(lambda pace, number=number: done.append(number))
        writer.flush()
        for thread in threads():
            thread.join(10)
        assert not threads()
    assert done == [0, 1, 2]


def test_readers_wait_for_what_is_written_where_they_look(writer, tmp_path):
    gate, store = threading.Event(), Store("out")

    def write(name, pace):
        gate.wait(10)
        time.sleep(0.05)
        with store.draft(name, pace) as draft:
            draft.write_json("facts.json", {})
            store.checkpoints()  # The thread that writes does not wait for itself.
            draft.commit()

    def read(look):
        """Begin to look while it is not written yet."""
        gate.clear()
        name = f"checkpoint-{number}"
        writer.submit(functools.partial(write, name))
        assert Store(tmp_path).checkpoints() == []  # Elsewhere nothing is written.
        assert not os.path.exists(f"out/{name}")
        threading.Timer(0.05, gate.set).start()
        return look(name)

    looks = [
        lambda name: store.newest_good()[0].name,
        lambda name: Store(tmp_path / "work/../work/out").checkpoints()[-1].name,
        lambda name: Checkpoint.open(f"out/{name}").name,
        lambda name: find_local_path(f"out/{name}/").resolve().name * os.path.exists(f"out/{name}"),
        lambda name: store.sweep() or Store("out").checkpoints()[-1].name,
    ]
    for number, look in enumerate(looks):
        assert read(look) == f"checkpoint-{number}"


def test_a_forked_process_does_not_wait_for_what_its_parent_writes(writer):
    gate = threading.Event()
    writer.submit(lambda pace: gate.wait(10))
    child = os.fork()
    if child == 0:
        done = []
        Store("out").checkpoints()
        writer.submit(lambda pace: done.append(1))
        writer.flush()
        os._exit(0 if done else 1)
    gate.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


ENDING = """
import logging, sys, threading, time
from tf_hfwb.checkpoint.store import Store
from helpers import python

from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.checkpoint.background_writer import BackgroundWriter
from tf_hfwb.resume.find_checkpoint import find_local_path

store, writer, rate = Store("out"), BackgroundWriter("out"), 64 << 20

def write(name, pace):
    with store.draft(name, pace) as draft:
        with draft.open("tensors") as file:
            for _ in range(4):
                file.write(bytes(rate >> 2))
                time.sleep(0.1)
        draft.commit()

def train():
    writer.submit(lambda pace: write("checkpoint-1", pace))
    if sys.argv[1] == "thread":  # Goes on when the main thread has ended, and waits for what it saves.
        threading.main_thread().join()
        writer.flush()
    writer.submit(lambda pace: write("checkpoint-2", pace))
    if sys.argv[1] == "thread":
        writer.flush()
    if sys.argv[1] == "fails":
        writer.submit(lambda pace: 1 / 0)

if sys.argv[1] == "thread":
    threading.Thread(target=train).start()
else:
    train()
    if sys.argv[1] == "raise":
        raise ArithmeticError("mine")
    sys.exit(3)
"""


@pytest.mark.nightly
@pytest.mark.parametrize(("way", "status"), [("exit", 3), ("raise", 1), ("thread", 0), ("fails", 3)])
def test_what_was_taken_is_written_when_python_ends(way, status):
    ended = python("-c", ENDING, way, check=False)
    assert ended.returncode == status, ended.stderr
    assert [checkpoint.step for checkpoint in Store("out").checkpoints()] == [1, 2]
    for checkpoint in Store("out").checkpoints():
        checkpoint.verify()
    assert ("division by zero" in ended.stderr) == (way == "fails")
