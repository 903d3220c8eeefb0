"""trackio's database as trackio reads it: what is in it, what a resumed training repeats, and what a lock does.

trackio wants other versions of the hub's client than transformers 4, so these run where it is installed.
"""

from __future__ import annotations

import importlib
import io
import os
import sqlite3
import sys

import numpy as np
import pytest

from tf_hfwb.dashboards.entry_queue import EntryQueue
from tf_hfwb.dashboards.entry_writer import Training
from tf_hfwb.dashboards.log_entries import Configuration, Histogram, MachineUse, Picture, Row, TableRows, Totals
from tf_hfwb.dashboards.trackio_writer import TrackioWriter

pytestmark = pytest.mark.core

trackio = pytest.importorskip("trackio")


@pytest.fixture(autouse=True)
def _database_of_its_own(tmp_path, monkeypatch):
    """trackio asks for its folder when it is imported."""
    importlib.import_module("trackio.sqlite_storage")
    folders = {"TRACKIO_DIR": tmp_path / "trackio", "MEDIA_DIR": tmp_path / "trackio" / "media"}
    for module in [module for name, module in sys.modules.items() if name.startswith("trackio")]:
        for name in folders.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, folders[name])
    (tmp_path / "trackio").mkdir()


def rows(*steps: int, name: str = "train/loss") -> list[Row]:
    return [Row(step, 1000.0 + step, {name: step / 10}) for step in steps]


def logs(run: str, project: str = "p") -> list[dict]:
    return importlib.import_module("trackio.sqlite_storage").SQLiteStorage.get_logs(project, run)


def steps(run: str, name: str = "train/loss") -> list[int]:
    return [row["step"] for row in logs(run) if name in row]


def names(project: str = "p") -> list[str]:
    return [run.name for run in trackio.Api().runs(project)]


def test_each_kind_of_entry_is_where_trackio_shows_it():
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (7, 5), "red").save(data, "PNG")
    picture = Picture(data.getvalue(), "png", 7, 5, "red")
    counts, edges = np.histogram(np.array([-1.0, 0.5, 0.5, 2.0]), 4)
    values = {"train/loss": 0.25, "odd": float("nan"), "w": Histogram(counts, edges), "p": picture, "t": "é", "step": 9}
    table = TableRows("samples", 3, 1003.0, ["text", "n", "p"], [["<i>", 1, picture], [None, object, None]])
    writer = TrackioWriter("p", "bert", group="g")
    writer.write(
        [Configuration({"lr": 1e-3, "_name_or_path": "x", "inner": {"f": len}}), Row(3, 1003.0, values), table]
    )
    writer.write([Totals(1004.0, {"train_loss": 0.5}), MachineUse(1010.0, 7.9, {"cpu": 50.0})])
    writer.close(0)
    assert names() == ["bert"]
    (row, rows_of_table, totals) = logs("bert")
    assert (row["step"], row["train/loss"], row["__step"]) == (3, 0.25, 9)
    assert str(row["odd"]) in ("nan", "NaN")
    assert row["w"] == {"_type": "trackio.histogram", "bins": edges.tolist(), "values": counts.tolist()}
    assert row["t"] == {"_type": "trackio.markdown", "_value": "é"}
    assert row["p"]["_type"] == "trackio.image"
    folder = importlib.import_module("trackio.utils").MEDIA_DIR
    assert Image.open(os.path.join(folder, row["p"]["file_path"])).size == (7, 5)
    first, second = rows_of_table["samples"]["_value"]
    assert (first["text"], first["n"], first["p"]["_type"]) == ("<i>", 1, "trackio.image")
    assert second == {"text": None, "n": "<class 'object'>", "p": None}
    assert (totals["step"], totals["train_loss"]) == (3, 0.5)
    storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    config = storage.get_run_config("p", "bert")
    assert (config["lr"], config["name_or_path"], config["_Group"]) == (0.001, "x", "g")
    assert [use["cpu"] for use in storage.get_system_logs("p", "bert")] == [50.0]


def test_a_resumed_training_repeats_no_step():
    first = TrackioWriter("p", "bert")
    first.begin(Training(0))
    first.write([*rows(2, 4, 6, 8), *rows(4, name="eval/loss")])  # Killed after the checkpoint of step 4.
    again = TrackioWriter("p", "bert")
    again.begin(Training(4, resumed=dict(first.identity), rows=rows(2, 4)))
    again.write([*rows(6, 8, 10), *rows(8, name="eval/loss")])
    assert steps("bert") == [2, 4, 6, 8, 10]
    assert steps("bert", "eval/loss") == [4, 8]
    assert names() == ["bert"]


def test_two_evaluations_of_one_step_are_both_there():
    writer = TrackioWriter("p", "bert")
    for _ in range(2):
        writer.write(rows(4, name="eval/loss"))
    assert steps("bert", "eval/loss") == [4, 4]


def test_a_training_that_is_resumed_elsewhere_has_the_rows_before_it():
    writer = TrackioWriter("p", "bert")
    writer.begin(Training(4, resumed={"project": "other", "name": "bert"}, rows=rows(2, 4)))
    writer.write(rows(6))
    assert steps("bert") == [2, 4, 6]


def test_another_training_is_a_run_of_its_own():
    for expected in ("bert", "bert-2", "bert-3"):
        writer = TrackioWriter("p", "bert")
        writer.begin(Training(0))
        writer.write(rows(1))
        assert writer.identity == {"project": "p", "name": expected}
    writer.begin(Training(0))  # The same trainer trains anew.
    writer.write(rows(2))
    assert steps("bert-4") == [2]
    assert steps("bert-3") == [1]


def test_without_a_name_it_has_that_of_the_run_or_trackio_finds_one():
    writer = TrackioWriter("p")
    writer.begin(Training(0, name="of-wandb"))
    writer.write(rows(1))
    assert names() == ["of-wandb"]
    writer = TrackioWriter("p")
    writer.write(rows(1))
    assert writer.identity["name"] in names()


def test_a_locked_database_stops_nothing_and_what_waited_is_written_later(caplog):
    writer = TrackioWriter("p", "bert")
    queue = EntryQueue([writer])
    queue.add(rows(1)[0])
    queue.flush()
    storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    path = storage.get_project_db_path("p")
    connection = sqlite3.connect(path, timeout=0.1)
    real = sqlite3.connect
    try:
        connection.execute("BEGIN EXCLUSIVE")
        sqlite3.connect = lambda *args, **kwargs: real(*args, **{**kwargs, "timeout": 0.05})
        for step in (2, 3):
            queue.add(rows(step)[0])
            queue.flush()
    finally:
        sqlite3.connect = real
        connection.rollback()
        connection.close()
    assert len(caplog.records) == 1
    assert "Writing for trackio failed (" in caplog.text
    queue.add(rows(4)[0])
    queue.close()
    assert steps("bert") == [1, 2, 3, 4]
