"""Workers that read a ``datasets.IterableDataset`` train as one device does, and resume in its middle."""

from __future__ import annotations

import pytest
from test_workers import Job, alone, like
from trainings import logged

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

SETTINGS = ('lr_scheduler_type="constant"',)


def test_two_workers_have_the_history_of_one_device(launcher, tmp_path):
    def settings(steps: int) -> list[str]:
        return ["--set", f"max_steps={steps}", *SETTINGS]

    alone(launcher, tmp_path / "straight", "stream", "out", *settings(12))
    there = tmp_path / "workers"
    first = Job(launcher, there, 2, "stream", "out", *settings(7)).results()
    assert [one["step"] for one in first] == [7, 7]
    results = Job(launcher, there, 2, "stream", "out", *settings(12)).results()
    assert [one["step"] for one in results] == [12, 12]
    assert len({one["sha256"] for one in results}) == 1
    rows, straight = logged(there), logged(tmp_path / "straight")
    for row in [*rows.values(), *straight.values()]:
        row.pop("train/epoch", None)  # The whole training is one, and the first job was to be a shorter one.
    assert {place: row for place, row in rows.items() if place[1] == "train"} == like(
        {place: row for place, row in straight.items() if place[1] == "train"}
    )


def test_workers_with_shares_of_their_own_are_told_so(launcher, tmp_path):
    for one in Job(launcher, tmp_path, 2, "share_of_stream", "out", "--set", "max_steps=7").ended():
        assert one.returncode == 1
        assert "train_dataset/content is" in one.stderr
