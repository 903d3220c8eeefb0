"""Runs that go on in another process, after ends of every kind; what was killed was really killed."""

from __future__ import annotations

import json
import logging
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import wandb
from helpers import finish, history, records

from tf_hfwb.settings import Settings
from tf_hfwb.tracking import current_tracker, open_tracker, wandb_private
from tf_hfwb.tracking.run_history import logged_rows, run_folders, unwritten_part
from tf_hfwb.tracking.run_opening import FLUSH_INTERVAL

pytestmark = pytest.mark.core

STEP = "train/global_step"
SCRIPT = """
import json, os, signal, sys, time
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
first, last, run_id, end = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None, sys.argv[4]
tracker = open_tracker(Settings.resolve(), run_id=run_id)
for step in range(first, last + 1):
    row = {"train/loss": step / 10, "train/steps_per_second": time.perf_counter(), "train/epoch": step / 7}
    tracker.submit(tracker.log, {**row, "train/global_step": step})
    if step % 5 == 0:
        row = {"eval/loss": step / 20, "eval/runtime": time.perf_counter(), "train/epoch": step / 7}
        tracker.submit(tracker.log, {**row, "train/global_step": step})
tracker.flush()
print(json.dumps([tracker.run.id, tracker.directory]), flush=True)
if end.startswith("kill"):
    time.sleep(float(end[4:]))
    os.kill(os.getpid(), signal.SIGKILL)
tracker.finish(0)
"""


def train(first: int, last: int, run_id: str = "", end: str = "finish", **environment: str) -> tuple[str, str]:
    """Log rows for the steps from first to last in a process of its own; the run's id and directory."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-c", SCRIPT, str(first), str(last), run_id, end]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    assert ended.returncode == (-signal.SIGKILL if end.startswith("kill") else 0), ended.stderr
    assert not ended.stderr
    return tuple(json.loads(ended.stdout.splitlines()[-1]))


def all_rows(run_id: str) -> list[dict]:
    return [row for directory in run_folders(run_id, "wandb") for row in history(directory)]


def test_a_run_that_goes_on_has_the_history_of_one_that_never_stopped():
    run_id, before = train(1, 12, end="kill0.5")
    assert not [record for record in records(before) if record["type"] == "exit"]
    again, between = train(8, 17, run_id, end="kill0.5")
    last, after = train(11, 20, run_id)
    assert run_id == again == last
    assert len({before, between, after}) == 3
    steps = lambda name: [row[STEP] for row in all_rows(run_id) if name in row]  # noqa: E731
    assert steps("train/loss") == list(range(1, 21))
    assert steps("eval/loss") == [5, 10, 15, 20]
    (run,) = [record["run"] for record in records(after) if record["type"] == "run"][:1]
    assert run["resume"] is True


def test_a_killed_process_keeps_all_but_its_last_moment():
    _, directory = train(1, 12, end="kill0.5")
    assert [row[STEP] for row in history(directory) if "train/loss" in row] == list(range(1, 13))
    run_id, _ = train(1, 2000, end="kill0")  # Killed while the client has still to write the last rows.
    rows = logged_rows(run_id, "wandb").names
    assert sorted(rows) == list(range(1, len(rows) + 1))
    assert len(rows) > 1000


@pytest.mark.parametrize(("own", "interval"), [("30", 30.0), (None, FLUSH_INTERVAL)])
def test_the_clients_own_interval_is_the_users_to_set(own, interval, monkeypatch):
    # Not by what a kill leaves: the client's service may still write all it has when it finds itself alone.
    if own is not None:
        monkeypatch.setenv("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", own)
    assert open_tracker(Settings.resolve()).run.settings.x_transaction_log_flush_interval == interval


def test_every_torn_log_can_be_read(caplog):
    run_id, directory = train(1, 12)
    (log,) = pathlib.Path(directory).glob("*.wandb")
    whole, seen = log.read_bytes(), set()
    for size in (0, 3, 7, 8, len(whole) // 3, len(whole) // 2, len(whole) - 1500, len(whole) - 1, len(whole)):
        log.write_bytes(whole[:size])
        rows = logged_rows(run_id, "wandb").names
        assert sorted(rows) == list(range(1, len(rows) + 1))
        seen.add(len(rows))
    assert min(seen) == 0
    assert max(seen) == 12
    assert len(seen) > 2


def test_the_names_of_each_step():
    run_id, directory = train(4, 5)
    train_names = {"train/loss", "train/steps_per_second", "train/epoch", STEP}
    assert logged_rows(run_id, "wandb").names == {4: train_names, 5: train_names | {"eval/loss", "eval/runtime"}}
    assert logged_rows(run_id, "wandb", skip=directory).names == {}
    assert logged_rows("another", "wandb").names == {}
    assert logged_rows(run_id[:-1], "wandb").names == logged_rows("*", "wandb").names == {}


def test_a_log_that_cannot_be_read_is_reported_and_passed_over(caplog, monkeypatch):
    import wandb

    run_id, directory = train(1, 3)
    rows = logged_rows(run_id, "wandb").names
    assert set(rows) == {1, 2, 3}
    nowhere = wandb_private.PrivateName("wandb.proto.wandb_internal_pb2:Nothing", "a test")
    monkeypatch.setattr(wandb_private, "RECORD", nowhere)  # Then the client's program reads the log.
    assert logged_rows(run_id, "wandb").names == rows
    monkeypatch.delattr(wandb.util, "get_core_path")  # And then the client's own command.
    assert logged_rows(run_id, "wandb").names == rows
    monkeypatch.setenv("PYTHONPATH", os.path.abspath("shadow"))
    pathlib.Path("shadow/wandb").mkdir(parents=True)
    pathlib.Path("shadow/wandb/__init__.py").write_text("raise SystemExit('broken client')")
    assert logged_rows(run_id, "wandb").names == {}
    assert f"{os.path.basename(directory)} could not be read as a whole (broken client)" in caplog.text


def test_what_of_a_row_is_new():
    rows = {5: frozenset({"train/loss", "train/epoch", STEP, "eval/runtime"})}
    assert unwritten_part({"train/loss": 1, "train/steps_per_second": 2, "train/epoch": 1, STEP: 5}, rows) == {}
    assert unwritten_part({"train/loss": 1, STEP: 6}, rows) == {"train/loss": 1, STEP: 6}
    assert unwritten_part({"train/loss": 1, "eval/loss": 2, "train/epoch": 1, STEP: 5}, rows) == {
        "eval/loss": 2,
        "train/epoch": 1,
        STEP: 5,
    }
    assert unwritten_part({"mine": 1}, rows) == {"mine": 1}


def test_one_process_that_goes_on_after_an_interrupt_writes_no_step_twice():
    tracker = open_tracker(Settings.resolve())
    for step in (1, 2, 3):
        tracker.submit(tracker.log, {"train/loss": step, STEP: step})
    assert open_tracker(Settings.resolve(), run_id=tracker.run.id) is tracker
    for step in (2, 3, 4):
        tracker.submit(tracker.log, {"train/loss": step, STEP: step})
    tracker.flush()
    assert sorted(tracker.already_logged.names) == [1, 2, 3]
    assert [row[STEP] for row in history(finish())] == [1, 2, 3, 4]


def test_without_going_on_rows_may_repeat():
    tracker = open_tracker(Settings.resolve())
    for _ in range(2):
        tracker.submit(tracker.log, {"train/loss": 1, STEP: 1})
    tracker.flush()
    assert tracker.already_logged.names == {}
    assert len(history(finish())) == 2


@pytest.mark.nightly
@pytest.mark.parametrize("environment", [{}, {"WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "30"}], ids=["some", "all"])
def test_rows_that_a_killed_process_lost_are_written_from_the_checkpoints_history(environment):
    run_id, _ = train(1, 3, end="kill0.5", **environment)
    tracker = open_tracker(Settings.resolve(), run_id=run_id)
    tracker.history.replace([json.dumps({"train/loss": step / 10, STEP: step}) for step in range(1, 6)])
    tracker.fill_gaps()
    tracker.submit(tracker.log, {"train/loss": 0.6, STEP: 6})
    tracker.flush()
    finish()
    assert [row[STEP] for row in all_rows(run_id) if "train/loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [json.loads(row)[STEP] for row in tracker.history] == [1, 2, 3, 4, 5, 6]


def test_on_a_machine_without_the_runs_log_the_history_is_not_written_again():
    tracker = open_tracker(Settings.resolve(), run_id="elsewhere")
    tracker.history.replace([json.dumps({"train/loss": 1, STEP: 1})])
    tracker.fill_gaps()
    tracker.flush()
    assert history(finish()) == []


def test_the_history_is_kept_as_json():
    tracker = open_tracker(Settings.resolve())
    tracker.log({"train/loss": 0.5, "table": wandb.Table(columns=["a"]), STEP: 1})
    assert [json.loads(row) for row in tracker.history] == [{"train/loss": 0.5, STEP: 1}]


def test_the_id_in_the_environment_wins(monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.setenv("WANDB_RESUME", "must")
    tracker = open_tracker(Settings.resolve(), run_id="checkpoints")
    assert (tracker.run.id, tracker.run.settings.resume) == ("mine", "must")
    assert open_tracker(Settings.resolve(), run_id="checkpoints") is tracker
    assert wandb.run is tracker.run


def test_a_run_of_ours_gives_way_to_the_one_that_goes_on_and_the_users_does_not():
    first = open_tracker(Settings.resolve())
    directory = first.directory
    second = open_tracker(Settings.resolve(), run_id="continued")
    assert second.run.id == "continued"
    assert second is open_tracker(Settings.resolve(), run_id="continued") is current_tracker()
    assert [record["type"] for record in records(directory)][-1] == "exit"
    second.finish()
    with wandb.init(id="users") as run:
        assert open_tracker(Settings.resolve(), run_id="continued").run is run
        assert wandb.run is run


def test_preempting_is_said_at_once():
    tracker = open_tracker(Settings.resolve())
    directory = tracker.directory
    tracker.mark_preempting()
    tracker.finish(143)
    kinds = [record["type"] for record in records(directory)]
    assert kinds.index("preempting") < kinds.index("exit")
    assert [record["exit"]["exit_code"] for record in records(directory) if record["type"] == "exit"] == [143]
    tracker.mark_preempting()


def test_preempting_that_fails_is_only_reported(caplog):
    tracker = open_tracker(Settings.resolve())
    wandb.finish()
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        tracker.mark_preempting()
    assert "Marking the W&B run as preempting failed" in caplog.text


def test_a_run_that_the_user_has_finished_is_none():
    tracker = open_tracker(Settings.resolve())
    assert current_tracker() is tracker
    wandb.finish()
    assert not current_tracker().active
    assert current_tracker().identity == {}
    assert open_tracker(Settings.resolve()).active
