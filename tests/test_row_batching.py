"""Rows that go to the client's service in one go."""

from __future__ import annotations

import threading

import pytest
import wandb
from helpers import finish, history

from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
from tf_hfwb.tracking.row_batching import RowBatch

pytestmark = pytest.mark.core


@pytest.fixture
def hops(monkeypatch) -> list[int]:
    """One entry for each switch to the client's thread."""
    made: list[int] = []
    asyncer = type(wandb.setup()._asyncer)
    run = asyncer.run
    monkeypatch.setattr(asyncer, "run", lambda self, function: (made.append(1), run(self, function))[1])
    return made


def test_rows_of_a_batch_take_one_switch_of_threads_and_arrive_in_order(hops):
    run = wandb.init()
    del hops[:]
    with RowBatch(run) as together:
        for number in range(50):
            run.log({"number": number})
        assert not hops
    together.send()
    assert len(hops) == 1
    assert len(together) == 50
    run.log({"number": 50})
    assert [row["number"] for row in history(finish())] == list(range(51))


def test_the_tracker_sends_its_rows_so(hops):
    tracker = open_tracker(Settings.resolve())
    tracker.flush()
    del hops[:]
    for number in range(50):
        tracker.submit(tracker.log, {"number": number})
    tracker.flush_rows()
    assert len(hops) < 25  # A batch may end while rows are still coming.
    assert [row["number"] for row in history(finish())] == list(range(50))


def test_other_threads_write_as_ever():
    run = wandb.init()
    with RowBatch(run) as together:
        run.log({"mine": 1})
        thread = threading.Thread(target=run.log, args=({"other": 1},))
        thread.start()
        thread.join()
        assert len(together) == 1
    together.send()
    assert [[*row] for row in history(finish())] == [["other"], ["mine"]]


def test_a_client_that_sends_in_another_way_is_left_alone():
    class Run:
        _interface = object()

    with RowBatch(Run()) as together:
        pass
    together.send()
    assert len(together) == 0


def test_rows_that_the_client_refuses_are_counted_and_told(caplog, monkeypatch):
    tracker = open_tracker(Settings.resolve())
    tracker.flush()

    def fail(self, timeout):
        raise ValueError("not a row")

    with monkeypatch.context() as patched:
        patched.setattr(RowBatch, "send", fail)
        for number in range(3):
            tracker.submit(tracker.log, {"number": number})
        tracker.flush_rows()
    assert "Writing to the W&B run failed (ValueError: not a row)" in caplog.text
    assert "rows could not be written" not in caplog.text
    tracker.finish(0)
    assert "3 rows could not be written" in caplog.text
