"""A resumed training reads only the end of its run's history, and says the same as with all of it."""

from __future__ import annotations

import json
import logging
import math
import os
import pathlib
import random
import struct
import zlib

import pytest
import wandb
from helpers import finish, history

from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
from tf_hfwb.tracking.recent_rows import collect, newest_increment, recent_rows
from tf_hfwb.tracking.run_history import LoggedRows, logged_rows, rows_in, run_folders, unwritten_part
from tf_hfwb.tracking.run_log import BLOCK, num_blocks, read_records
from tf_hfwb.tracking.run_tables import GrowingTable
from tf_hfwb.tracking.written_rows import Progressions, WrittenRows

pytestmark = pytest.mark.core

STEP = "train/global_step"
LONG = 4000


def log_rows(tracker, first: int, last: int) -> None:
    for step in range(first, last + 1):
        tracker.submit(tracker.log, {"train/loss": step / 10, "train/epoch": step / 7, STEP: step})
        if step % 10 == 0:
            tracker.submit(tracker.log, {"eval/loss": step / 20, "train/epoch": step / 7, STEP: step})
    tracker.flush()


def run_of(last: int) -> tuple[str, pathlib.Path]:
    """A run that has ended with rows for the steps from 1 on: its id and its log."""
    tracker = open_tracker(Settings.resolve())
    run_id = tracker.run.id
    log_rows(tracker, 1, last)
    tracker.log({"media": wandb.Histogram([1, 2, 2]), "nested": {"a": {"b": 1}}, STEP: last}, kept=())
    (log,) = pathlib.Path(finish()).glob("*.wandb")
    return run_id, log


def test_the_end_of_a_log_is_read_as_the_client_reads_it():
    run_id, log = run_of(LONG)
    assert num_blocks(os.fspath(log)) > 40
    whole = logged_rows(run_id, "wandb")
    assert recent_rows(run_id, "wandb", 1).names == whole.names
    found = recent_rows(run_id, "wandb", LONG - 200)
    assert LONG - 1000 < found.first_step <= LONG - 200
    since = {step: names for step, names in whole.names.items() if step >= found.first_step}
    assert {step: names for step, names in found.names.items() if step >= found.first_step} == since
    assert "media" in found.names[LONG]
    assert len(found.names) < 1000

    begin = bytearray(log.read_bytes())
    begin[: len(begin) // 2] = bytes(len(begin) // 2)  # What is not read may be anything.
    log.write_bytes(begin)
    assert recent_rows(run_id, "wandb", LONG - 200) == found


def test_records_are_found_from_every_block_and_of_every_torn_log():
    run_id, log = run_of(600)
    path = os.fspath(log)
    records = list(read_records(path))
    by_blocks = [record for block in range(num_blocks(path)) for record in read_records(path, block, block + 1)]
    assert by_blocks == records
    data, dice = log.read_bytes(), random.Random(0)
    for size in (0, 3, 7, BLOCK - 3, BLOCK, BLOCK + 6, *(dice.randrange(len(data)) for _ in range(12))):
        log.write_bytes(data[:size])
        assert recent_rows(run_id, "wandb", 1).names == logged_rows(run_id, "wandb").names, size


@pytest.mark.parametrize("left", range(9))
def test_a_record_is_read_once_wherever_a_block_ends(left, tmp_path):
    """A block ends with up to six bytes that no piece fits into."""

    def piece(kind: int, data: bytes) -> bytes:
        return zlib.crc32(bytes([kind]) + data).to_bytes(4, "little") + struct.pack("<HB", len(data), kind) + data

    first = b"a" * (BLOCK - 7 - 7 - left)  # Behind the header of the file, with one of its own.
    second = {7: [piece(2, b""), piece(4, b"bc")], 8: [piece(2, b"b"), piece(4, b"c")]}.get(left, [piece(1, b"bc")])
    begin = b":W&B" + bytes(3) + piece(1, first)
    between = bytes(left) if left < 7 else b""
    path = tmp_path / "log"
    path.write_bytes(begin + between + b"".join(second) + piece(1, b"end"))
    records = list(read_records(os.fspath(path)))
    assert records == [first, b"bc", b"end"]
    by_blocks = [record for block in range(2) for record in read_records(os.fspath(path), block, block + 1)]
    assert by_blocks == records


def test_a_damaged_piece_ends_what_is_read_there():
    _, log = run_of(50)
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    whole = list(read_records(os.fspath(log)))
    log.write_bytes(data)
    assert list(read_records(os.fspath(log))) == whole[: len(list(read_records(os.fspath(log))))] != whole


def test_rows_of_other_threads_that_come_late_do_not_mislead():
    rows = [{STEP: step, "a": 1} for step in range(1, 1001)]
    late = {STEP: 700, "table": 1}
    for place in (801, 900, 999):
        found = collect(reversed([*rows[:place], late, *rows[place:]]), 800)
        assert set(range(800, 1001)) <= set(found.names)
        assert 600 < found.first_step <= 800
        assert set(range(found.first_step, 801)) <= set(found.names)


@pytest.mark.parametrize("step", [math.nan, -math.inf, "NaN", None])
def test_a_step_that_is_no_number_is_none(step):
    row = {STEP: step, "mine": 1}
    logged, written = LoggedRows(), WrittenRows()
    logged.add(row)
    written.add(row)
    assert logged.names == written.since(0).names == {}
    assert unwritten_part(row, {}) == row


def test_several_folders_are_read_from_the_newest_on():
    run_id, _ = run_of(300)
    tracker = open_tracker(Settings.resolve(), run_id=run_id, from_step=250)
    log_rows(tracker, 251, 320)
    finish()
    assert [len(rows_in(folder)) > 0 for folder in run_folders(run_id, "wandb")] == [True, True]
    found = recent_rows(run_id, "wandb", 290)
    assert set(found.names) >= set(range(290, 321))
    assert min(found.names) > 150
    assert sorted(
        row[STEP] for folder in run_folders(run_id, "wandb") for row in history(folder) if "train/loss" in row
    ) == [*range(1, 321)]


def test_of_a_long_history_only_what_the_run_lacks_is_written():
    run_id, _ = run_of(LONG)
    tracker = open_tracker(Settings.resolve(), run_id=run_id, from_step=LONG + 5)
    rows = [json.dumps({"train/loss": step / 10, STEP: step}) for step in range(1, LONG + 6)]
    tracker.history.replace(rows)
    tracker.fill_gaps()
    log_rows(tracker, LONG + 6, LONG + 7)
    assert len(tracker.already_logged.names) < 1000
    assert [row[STEP] for row in history(finish())] == [*range(LONG + 1, LONG + 8)]


def test_rows_before_the_first_one_of_this_machine_are_elsewhere():
    tracker = open_tracker(Settings.resolve(), run_id="moved", from_step=100)
    log_rows(tracker, 101, 120)
    finish()
    tracker = open_tracker(Settings.resolve(), run_id="moved", from_step=115)
    tracker.history.replace([json.dumps({"train/loss": 1, STEP: step}) for step in range(1, 116)])
    tracker.fill_gaps()
    log_rows(tracker, 116, 122)
    assert [row[STEP] for row in history(finish()) if "train/loss" in row] == [121, 122]


def test_a_process_that_resumes_twice_writes_nothing_twice():
    run_id, _ = run_of(400)
    tracker = open_tracker(Settings.resolve(), run_id=run_id, from_step=300)
    log_rows(tracker, 301, 500)
    rows = [json.dumps({"train/loss": step / 10, STEP: step}) for step in range(1, 451)]
    for begin in (450, 350, 200):
        assert open_tracker(Settings.resolve(), run_id=run_id, from_step=begin) is tracker
        tracker.history.replace(rows[:begin])
        tracker.fill_gaps()
        log_rows(tracker, begin + 1, 510)
    assert [row[STEP] for row in history(finish()) if "train/loss" in row] == [*range(401, 511)]


def test_the_newest_increment_of_a_table_is_found_however_long_ago_it_was():
    tracker = open_tracker(Settings.resolve())
    run_id, table = tracker.run.id, GrowingTable(tracker, "samples", 1 << 20)
    for step in (1, 2):
        table.submit(lambda: [{"a": 1}], step, 0.0)
    tracker.flush()
    log_rows(tracker, 3, 3000)
    finish()
    assert "samples" not in recent_rows(run_id, "wandb", 2900).increments
    assert newest_increment("samples", None, run_id, "wandb", None)["increment_num"] == 1
    assert newest_increment("other", None, run_id, "wandb", None) is None

    tracker = open_tracker(Settings.resolve(), run_id=run_id, from_step=2900)
    GrowingTable(tracker, "samples", 1 << 20).submit(lambda: [{"a": 1}], 3001, 0.0)
    tracker.flush()
    (row,) = [row for row in history(finish()) if "samples" in row]
    assert row["samples"]["increment_num"] == 2


def test_of_a_run_on_the_server_only_the_last_rows_are_asked_for(server, caplog):
    tracker = open_tracker(Settings.resolve())
    run_id = tracker.run.id
    log_rows(tracker, 1, LONG)
    finish()
    before = len(server.requests)
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        tracker = open_tracker(Settings.resolve(), run_id=run_id, from_step=LONG - 100)
        rows = [json.dumps({"train/loss": step / 10, STEP: step}) for step in range(1, LONG - 99)]
        tracker.history.replace(rows)
        tracker.fill_gaps()
        log_rows(tracker, LONG - 99, LONG + 5)
        finish()
    assert not [record for record in caplog.records if record.name == "tf_hfwb"]
    pages = [request for request in server.requests[before:] if request.operation == "HistoryPage"]
    assert 1 <= len(pages) <= 2
    (run,) = server.runs.values()
    assert [row[STEP] for row in run.history if "train/loss" in row] == [*range(1, LONG + 6)]


def test_steps_at_equal_distances_take_no_memory():
    written = WrittenRows()
    for step in range(1, 20_001):
        written.add({"train/loss": 1, STEP: step})
        if step % 500 == 0:
            written.add({"eval/loss": 1, STEP: step})
    assert {len(steps) for steps in written._steps.values()} == {1}
    found = written.since(19_999).names
    assert found == {19_999: {"train/loss", STEP}, 20_000: {"train/loss", "eval/loss", STEP}}


@pytest.mark.parametrize("seed", range(20))
def test_any_steps_are_remembered(seed):
    dice, steps = random.Random(seed), Progressions()
    numbers = [dice.choice([dice.randrange(50), 5 * number, number]) for number in range(60)]
    for number in numbers:
        steps.add(number)
    for first in (0, 1, 17, 49, 300):
        assert sorted(set(steps.since(first))) == sorted({number for number in numbers if number >= first})
