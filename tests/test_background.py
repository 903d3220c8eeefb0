"""The worker thread."""

from __future__ import annotations

import threading

import pytest

from tf_hfwb.background_worker import Worker

pytestmark = pytest.mark.core


def test_jobs_run_in_order_on_one_other_thread():
    worker, seen = Worker("test"), []
    for number in range(200):
        worker.submit(lambda n: seen.append((n, threading.get_ident())), number)
    worker.flush()
    assert [number for number, _ in seen] == list(range(200))
    assert len({thread for _, thread in seen} - {threading.get_ident()}) == 1
    worker.close()


def test_jobs_run_without_anybody_waiting():
    worker, done = Worker("test", period=0.01), threading.Event()
    worker.submit(done.set)
    assert done.wait(5)
    worker.close()


def test_an_error_is_raised_by_the_next_flush_once_and_stops_no_other_job():
    worker, done = Worker("test"), []
    worker.submit(lambda: 1 / 0)
    worker.submit(done.append, "after")
    with pytest.raises(ZeroDivisionError):
        worker.flush()
    assert done == ["after"]
    assert worker.flush()
    worker.close()


def test_flush_gives_up_after_its_timeout():
    worker, gate = Worker("test"), threading.Event()
    worker.submit(gate.wait)
    assert worker.flush(timeout=0.05) is False
    gate.set()
    assert worker.flush() is True
    worker.close()


def test_a_closed_worker_ends_its_thread_and_starts_again_with_the_next_job():
    worker, done = Worker("ends-and-starts"), []
    worker.submit(done.append, 1)
    worker.close()
    assert "ends-and-starts" not in [thread.name for thread in threading.enumerate()]
    worker.submit(done.append, 2)
    worker.close()
    assert done == [1, 2]


@pytest.mark.parametrize(("good_at", "expected"), [(1, 1), (3, 3), (99, 5)])
def test_it_waits_for_a_good_moment_but_not_for_long(good_at, expected):
    worker, looks, found, done = Worker("test", period=0.01), [], [], threading.Event()
    worker.is_good_moment = lambda: looks.append(1) or len(looks) >= good_at
    worker.submit(lambda: (found.append(len(looks)), done.set()))
    assert done.wait(5)
    assert found == [expected]
    worker.close()


def test_flushing_from_a_job_does_not_wait_for_itself():
    worker, done = Worker("test"), []
    worker.submit(lambda: (worker.flush(), done.append(1)))
    worker.close()
    assert done == [1]
