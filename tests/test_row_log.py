"""All rows of a training: in order, wherever they lie, and in bounded memory."""

from __future__ import annotations

import json
import math
import os
import resource

import pytest

from tf_hfwb.checkpoint.store import Store
from tf_hfwb.resume.saved_rows import LOG_HISTORY, write_rows
from tf_hfwb.tracking.row_log import RowLog, parse_row

pytestmark = pytest.mark.core

STEP = "train/global_step"


def line(step: int) -> str:
    return json.dumps({"train/loss": step / 7, STEP: step})


def filled(last: int, directory: str | None = None) -> RowLog:
    rows = RowLog(lambda: directory)
    for step in range(1, last + 1):
        rows.append(line(step))
    return rows


def steps_of(rows) -> list[int]:
    return [json.loads(row)[STEP] for row in rows]


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 3456])
def test_rows_come_back_in_order_and_the_newest_first(number, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    rows = filled(number, os.fspath(directory))
    assert len(rows) == number
    assert steps_of(rows) == list(range(1, number + 1))
    groups = list(rows.so_far().newest_first())
    assert steps_of(row for group in reversed(groups) for row in group) == list(range(1, number + 1))
    assert len(rows.so_far().newest) == number % 1000
    assert os.listdir(directory) == []  # The file has no name.


def test_what_was_taken_does_not_change_with_later_rows():
    rows = filled(1500)
    before = rows.so_far()
    rows.append(line(1501))
    rows.replace([line(7)])
    assert steps_of(before) == list(range(1, 1501))
    assert steps_of(rows) == [7]


def test_numbers_that_json_does_not_have_are_numbers_again():
    rows = RowLog(lambda: None)
    rows.append(json.dumps({"a": math.nan, "b": -math.inf, STEP: 1}))
    (row,) = rows
    json.loads(row, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    parsed = parse_row(row)
    assert math.isnan(parsed["a"])
    assert (parsed["b"], parsed[STEP]) == (-math.inf, 1)


def test_on_a_full_disk_rows_stay_in_memory(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        rows = filled(9000, os.fspath(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    rows.append(line(9001))
    assert steps_of(rows) == list(range(1, 9002))


def test_a_folder_that_has_gone_is_no_obstacle(tmp_path):
    assert steps_of(filled(2500, os.fspath(tmp_path / "gone"))) == list(range(1, 2501))


def save(store: Store, rows: RowLog, name: str):
    with store.draft(name) as draft:
        written = write_rows(draft, rows.so_far(), LOG_HISTORY)
        checkpoint = draft.commit()
    written.note_commit(checkpoint)
    return checkpoint, written.files


def lines_in(checkpoint, files) -> list[int]:
    return [step for name in files for step in steps_of((checkpoint.path / name).read_text().splitlines())]


def test_each_checkpoint_has_all_rows_and_writes_only_the_new_ones(tmp_path):
    store, rows, seen = Store(tmp_path / "out"), filled(0), {}
    for number in range(1, 72):
        for step in range(1000 * (number - 1) + 1, 1000 * number + 1):
            rows.append(line(step))
        checkpoint, files = save(store, rows, f"checkpoint-{number}")
        assert sum(files.values()) == 1000 * number
        assert len(files) <= 31 + number // 32
        new = {name for name in files if (checkpoint.path / name).stat().st_ino not in seen}
        assert len(new) == 1
        seen |= {(checkpoint.path / name).stat().st_ino: name for name in files}
        assert all(checkpoint.files[name].is_needed is False for name in files)
    assert lines_in(checkpoint, files) == steps_of(rows) == list(range(1, 71_001))


def test_without_its_checkpoints_a_process_still_has_its_own_rows(tmp_path):
    import shutil

    store, rows = Store(tmp_path / "out"), filled(3000)
    first, _ = save(store, rows, "checkpoint-1")
    shutil.rmtree(first.path)
    second, files = save(store, rows, "checkpoint-2")
    assert lines_in(second, files) == list(range(1, 3001))
    assert steps_of(rows) == list(range(1, 3001))


def test_rows_of_an_earlier_process_are_linked_and_lost_only_with_the_last_checkpoint(tmp_path, caplog):
    from tf_hfwb.resume.saved_rows import pieces_of

    store = Store(tmp_path / "out")
    first, files = save(store, filled(2000), "checkpoint-1")
    rows = RowLog(lambda: None)
    rows.replace([line(2001)], pieces_of(first, files))
    assert steps_of(rows) == list(range(1, 2002))
    second, files = save(store, rows, "checkpoint-2")
    first.path.rename(tmp_path / "away")
    third, files = save(store, rows, "checkpoint-3")  # From the second.
    assert lines_in(third, files) == list(range(1, 2001))
    assert not caplog.records
    for path in (second.path, third.path):
        path.rename(tmp_path / f"away-{path.name}")
    fourth, files = save(store, rows, "checkpoint-4")
    assert files == {}
    assert "2000 rows of the history are in no checkpoint any more" in caplog.text
    assert steps_of(rows) == [2001]
    fourth.verify()


def test_damaged_rows_damage_no_checkpoint_and_are_not_used(tmp_path):
    from tf_hfwb.errors import CorruptCheckpointError
    from tf_hfwb.resume.saved_rows import pieces_of

    store = Store(tmp_path / "out")
    checkpoint, files = save(store, filled(2000), "checkpoint-1")
    path = checkpoint.path / next(iter(files))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"0", b"1", 1))
    assert store.newest_good()[0] == checkpoint
    damaged, whole = pieces_of(checkpoint, files)
    with pytest.raises(CorruptCheckpointError, match="is damaged"):
        damaged.read()
    assert steps_of(whole.read().decode().splitlines()) == list(range(1001, 2001))
    path.unlink()
    assert store.newest_good() == (checkpoint, [])
    with pytest.raises(CorruptCheckpointError):
        damaged.read()


def test_rows_are_taken_over_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store, rows = Store(tmp_path / "out"), filled(2000)
    for number in (1, 2):
        checkpoint, files = save(store, rows, f"checkpoint-{number}")
    assert lines_in(checkpoint, files) == list(range(1, 2001))
    assert {entry.is_needed for entry in Store(tmp_path / "out").checkpoints()[1].files.values()} == {False}
