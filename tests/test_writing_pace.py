"""The pace of the thread that writes checkpoints, on a clock of the test's."""

from __future__ import annotations

import pytest

from tf_hfwb.checkpoint.writing_pace import WritingPace

pytestmark = pytest.mark.core

CHUNK = 4 << 20


class Training:
    """Takes steps of so many seconds, and saves."""

    def __init__(self, *, chunks: int, work: float, calm: float, busy: float):
        self.now, self.done = 0.0, 0.0
        self.chunks, self.work, self.calm, self.busy = chunks, work, calm, busy
        self.pace = WritingPace()
        self.pace.follow(self.steps_now)
        self.waited = 0.0

    def steps_now(self) -> int:
        return int(self.done)

    def run(self, seconds: float, step: float) -> None:
        self.now += seconds
        self.done += seconds / step

    def save(self, every: float) -> tuple[float, list[float]]:
        """Write a save, and train until the next; how long it took, and its rests."""
        began = self.now
        self.pace.submit(began, self.waited)
        self.pace.begin(began)
        rests = []
        for _ in range(self.chunks):
            self.run(self.work, self.busy)
            rests.append(self.pace.rest_after(CHUNK, self.now))
            self.run(rests[-1], self.calm)
            self.pace.resume(self.now)
        self.pace.end(self.now)
        took = self.now - began
        self.run(max(0.0, every - took), self.calm)
        self.waited = max(0.0, took - every)
        return took, rests


def test_where_steps_suffer_nothing_it_soon_stops_resting():
    training = Training(chunks=65, work=0.004, calm=0.02, busy=0.02)
    took = [training.save(60.0)[0] for _ in range(8)]
    assert took[0] > 0.6
    assert took[-1] == pytest.approx(65 * 0.004)


def test_where_they_suffer_it_rests_more():
    training = Training(chunks=200, work=0.02, calm=0.02, busy=0.06)
    rests = [training.save(600.0)[1] for _ in range(3)]
    assert rests[0][0] == 0.02
    assert rests[-1][-1] > 0.05
    for found in rests[1:]:
        assert sum(found) > 200 * 0.04


@pytest.mark.parametrize("every", [10.0, 30.0])
def test_it_never_rests_until_the_next_save_is_due(every):
    training = Training(chunks=384, work=0.023, calm=0.02, busy=0.08)  # Nearly 9 seconds of work.
    took = [training.save(every)[0] for _ in range(6)]
    assert all(seconds <= every for seconds in took[3:]), took
    assert took[-1] > 384 * 0.023  # But it rests, as there is time.


def test_work_that_takes_longer_than_the_time_leaves_none_for_rests():
    training = Training(chunks=100, work=0.1, calm=0.02, busy=0.08)
    for _ in range(3):
        training.save(5.0)
    assert sum(training.save(5.0)[1]) < 0.1


@pytest.mark.parametrize("has_gone", [False, True])
def test_without_a_count_of_steps_the_rest_stays(has_gone):
    pace = WritingPace()
    if has_gone:
        pace.follow(Training(chunks=1, work=1, calm=1, busy=1).steps_now)
    for _ in range(2):
        pace.submit(0.0)
        pace.begin(0.0)
        assert {pace.rest_after(CHUNK, 0.1 * number) for number in range(50)} == {0.02}
        pace.end(5.0)


def test_an_evaluation_between_saves_does_not_count_as_calm_for_long():
    training = Training(chunks=300, work=0.02, calm=0.02, busy=0.05)
    training.save(60.0)
    training.now += 600  # Without a step.
    rests = training.save(60.0)[1]
    assert rests[-1] > 0.02
