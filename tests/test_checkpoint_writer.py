"""The thread that writes checkpoints: order, how many wait, hurry, errors."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from tf_hfwb.checkpoint.writer import BackgroundWriter


@pytest.fixture
def writer():
    writer = BackgroundWriter()
    yield writer
    writer.close()


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


def test_it_starts_again_after_it_was_closed(writer):
    done = []
    writer.submit(lambda pace: done.append(1))
    writer.close()
    writer.submit(lambda pace: done.append(2))
    writer.flush()
    assert done == [1, 2]
