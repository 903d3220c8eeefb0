"""A run's log is read record by record, and says the same as the client's own program does."""

from __future__ import annotations

import json
import math
import os
import pathlib

import numpy as np
import pytest
import wandb

from tf_hfwb.tracking.log_inspection import inspected_items
from tf_hfwb.tracking.log_items import nest_media, read_items, read_rows, restore_numbers
from tf_hfwb.tracking.run_history import rows_in
from tf_hfwb.tracking.run_log import BLOCK
from tf_hfwb.tracking.wandb_private import RecordForm

pytestmark = pytest.mark.core

ROWS = [
    {"loss": 0.5, "train/global_step": 1, "nan": math.nan, "endless": [math.inf, -math.inf, 1]},
    {"a.b": 1, "nested": {"x": {"y": [1, {"z": None}]}, "e": {}}, "text": 'NaN, "NaN"\n\\ 손실 \u2028 😀'},
    {"": 0, "손실": 1e-300, "big": 2**70, "yes": True, "none": None, "words": ["NaN", "Infinity"]},
    {"long": "x" * (3 * BLOCK), "train/global_step": 2},
    {"train/global_step": "a word"},
    {"train/global_step": math.nan, "loss": 1},
    {"weights": wandb.Histogram([1.0, 2.0, 2.0]), "weights.mine": 7, "train/global_step": 3},
]


def masked_image() -> wandb.Image:
    pixels = np.zeros((4, 4), np.uint8)
    box = {"position": {"minX": 0, "maxX": 1, "minY": 0, "maxY": 1}, "class_id": 0}
    return wandb.Image(pixels, masks={"m": {"mask_data": pixels}}, boxes={"b": {"box_data": [box]}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with values of all kinds."""
    place = tmp_path_factory.mktemp("runs")
    settings = wandb.Settings(silent=True, x_save_requirements=False, x_stats_sampling_interval=0.1)
    with wandb.init(mode="offline", dir=place, group="g", job_type="train", settings=settings) as run:
        for row in ROWS:
            run.log(row)
        for number in range(200):
            run.log({"loss": number, "train/global_step": 10 + number})
        run.log({"answers": wandb.Table(columns=["n"], data=[[1]]), "seen": masked_image()})
    wandb.teardown()
    return pathlib.Path(run.dir).parent


@pytest.fixture
def log(folder, tmp_path):
    """A copy of its log, in a folder of its own."""
    (path,) = folder.glob("*.wandb")
    copy = tmp_path / "copy" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    return copy


def complain(complaint: str) -> None:
    pytest.fail(complaint)


def inspected_rows(folder) -> list[dict]:
    items = inspected_items(os.fspath(folder), ("history",), "", lambda _: None)
    return [nest_media(restore_numbers(item["item"])) for _, item in items]


def test_rows_are_those_of_the_clients_program(folder):
    rows = list(read_rows(os.fspath(folder), complain))
    assert [*map(sorted_json, rows)] == [*map(sorted_json, inspected_rows(folder))]
    assert all([*row] == sorted(row) for row in rows[:5])
    assert len(rows) == len(ROWS) + 201
    assert math.isnan(rows[0]["nan"])
    assert rows[0]["endless"] == [math.inf, -math.inf, 1]
    assert rows[1]["text"] == ROWS[1]["text"]
    assert len(rows[3]["long"]) == 3 * BLOCK
    assert {*rows[6]["weights"]} == {"_type", "values", "bins"}
    assert rows[6]["weights.mine"] == 7
    assert {name for name in rows[-1] if not name.startswith("_")} == {"answers", "seen"}
    assert rows[-1]["seen"]["masks.m._type"] == "mask"


def sorted_json(row: dict) -> str:
    """A row as text, in which NaN is equal to NaN."""
    return json.dumps(row, sort_keys=True)


def test_what_else_is_in_it_is_that_of_the_clients_program(folder):
    place = os.fspath(folder)
    for kind, names in {
        "stats": ("timestamp", "item"),
        "run": ("run_group", "job_type", "run_id"),
        "artifact": ("client_id", "name", "type"),
    }.items():
        found = [item for _, item in read_items(place, kind, complain=complain)]
        expected = [item for _, item in inspected_items(place, (kind,), "", complain)]
        assert len(found) == len(expected) > 0
        assert [[item[name] for name in names] for item in found] == [
            [item[name] for name in names] for item in expected
        ]
    entries = [
        [item["manifest"]["contents"] for _, item in items]
        for items in (
            read_items(place, "artifact", complain=complain),
            inspected_items(place, ("artifact",), "", complain),
        )
    ]
    assert [[(one["path"], one["local_path"]) for one in contents] for contents in entries[0]] == [
        [(one["path"], one["local_path"]) for one in contents] for contents in entries[1]
    ]
    kinds = [kind for kind, _ in read_items(place, "stats", "run", "artifact", "exit", complain=complain)]
    assert set(kinds) == {"stats", "run", "artifact", "exit"}


def test_only_rows_with_a_text_are_read(folder):
    rows = list(read_rows(os.fspath(folder), complain, containing='table-file"'))
    assert [[*row.keys() & {"answers", "loss"}] for row in rows] == [["answers"]]


def test_rows_with_a_step(folder, caplog):
    steps = [row["train/global_step"] for row in rows_in(os.fspath(folder))]
    assert steps == [1, 2, 3, *range(10, 210)]
    assert caplog.text == ""


def test_behind_a_damaged_part_reading_continues(log, caplog):
    whole, data = list(read_rows(os.fspath(log.parent), complain)), bytearray(log.read_bytes())
    place = len(data) - len(data) % BLOCK - BLOCK // 2  # In the middle of the last whole block.
    data[place] ^= 1
    log.write_bytes(data)
    complaints: list[str] = []
    rows = list(read_rows(os.fspath(log.parent), complaints.append))
    assert len(complaints) == 1
    assert complaints[0].startswith("it is damaged at byte ")
    assert 4 < len(rows) < len(whole)
    assert rows[-1].keys() == whole[-1].keys()
    assert rows_in(os.fspath(log.parent))[-1]["train/global_step"] == 209
    assert "could not be read as a whole (it is damaged at byte" in caplog.text


def test_a_log_that_was_cut_gives_what_is_whole(log, caplog):
    data, whole = log.read_bytes(), list(read_rows(os.fspath(log.parent), complain))
    for size in (0, 3, 7, 8, 60, BLOCK - 2, BLOCK, BLOCK + 1, len(data) // 2, len(data) - 1):
        log.write_bytes(data[:size])
        complaints: list[str] = []
        rows = list(read_rows(os.fspath(log.parent), complaints.append))
        assert [*map(sorted_json, rows)] == [*map(sorted_json, whole[: len(rows)])]
        assert set(complaints) <= {"it ends in the middle of a record"}
        rows_in(os.fspath(log.parent))
    assert complaints
    assert caplog.text == ""  # A process that was killed leaves such logs.


@pytest.mark.parametrize("content", [b"", b"\0" * 3 * BLOCK, b"a text\n" * 20_000])
def test_a_file_in_another_format_has_no_rows(content, log):
    log.write_bytes(content)
    complaints: list[str] = []
    assert list(read_rows(os.fspath(log.parent), complaints.append)) == []
    assert bool(complaints) == bool(content)


def test_a_folder_without_a_log(tmp_path):
    complaints: list[str] = []
    assert list(read_rows(os.fspath(tmp_path), complaints.append)) == []
    assert complaints == ["it holds no log"]


def test_kinds_are_told_from_the_first_bytes_as_from_the_whole_record():
    form, Record = RecordForm(), type(RecordForm()._record())
    fields = Record.DESCRIPTOR.oneofs_by_name["record_type"].fields
    for number in (0, 1, 127, 128, 2**40):
        for field in fields:
            record = Record(num=number)
            getattr(record, field.name).SetInParent()
            assert form.kind_of(record.SerializeToString()) == field.name
            record.control.mailbox_slot = "slot"  # It stands in front of some kinds.
            assert form.kind_of(record.SerializeToString()) == field.name
    assert form.kind_of(b"") == form.kind_of(b"\x08") == form.kind_of(b"\x08\x80") == form.kind_of(b"\xff" * 9) == ""
