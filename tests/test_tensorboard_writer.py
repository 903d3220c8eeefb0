"""Event files as TensorBoard reads them: what is in them, what a resumed training repeats, what a full disk does."""

from __future__ import annotations

import errno
import io
import math
import os
import resource
import signal
import sys

import numpy as np
import pytest
from event_files import accumulated, end_status, hyperparameters, scalars, tensors, texts
from helpers import python

from tf_hfwb.dashboards.entry_queue import MAX_WAITING, EntryQueue
from tf_hfwb.dashboards.entry_writer import Training
from tf_hfwb.dashboards.log_entries import Configuration, Histogram, MachineUse, Picture, Row, TableRows, Totals
from tf_hfwb.dashboards.markdown_tables import MAX_ROWS, markdown_table
from tf_hfwb.dashboards.tensorboard_writer import TensorBoardWriter
from tf_hfwb.errors import SettingError

pytestmark = pytest.mark.core


def rows(*steps: int, name: str = "train/loss") -> list[Row]:
    return [Row(step, 1000.0 + step, {name: step / 10}) for step in steps]


def picture() -> Picture:
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (7, 5), "red").save(data, "PNG")
    return Picture(data.getvalue(), "png", 7, 5, "a *red* one")


def test_each_kind_of_entry_is_where_tensorboard_shows_it():
    writer = TensorBoardWriter("logs")
    counts, edges = np.histogram(np.array([-1.0, 0.5, 0.5, 2.0]), 4)
    values = {
        "train/loss": 0.25,
        "odd": math.nan,
        "big": 2**40,
        "w": Histogram(counts, edges),
        "p": picture(),
        "t": "é",
    }
    table = TableRows("samples", 3, 1003.0, ["text", "n"], [["a|b\n<i>", 1], [None, 0.123456789]])
    config = {
        "lr": 1e-3,
        "flag": True,
        "n": 3,
        "name": "bert",
        "inner": {"x": 2},
        "none": None,
        "nan": math.nan,
        "of": int,
        3: 4,
        "l": [1],
    }
    writer.write([Configuration(config), Row(3, 1003.0, values), table, Totals(1004.0, {"train_loss": 0.5})])
    writer.write([Configuration(config), MachineUse(1010.0, 7.9, {"cpu": 50.0})])
    writer.close(0)
    found = scalars("logs")
    assert found["train/loss"] == [(3, 0.25)]
    assert math.isnan(found["odd"][0][1])
    assert found["big"] == [(3, 2**40)]
    assert found["train_loss"] == [(3, 0.5)]
    assert found["system/cpu"] == [(7, 50.0)]
    ((step, bins),) = tensors("logs", "histograms")["w"]
    assert step == 3
    np.testing.assert_allclose(bins, np.stack([edges[:-1], edges[1:], counts], 1))
    ((_, image),) = tensors("logs", "images")["p"]
    assert image.tolist() == [b"7", b"5", picture().data]
    assert texts("logs")["t"] == [(3, "é")]
    assert texts("logs")["samples"][0][1].splitlines()[2:] == ["| a&#124;b<br>&lt;i&gt; | 1 |", "|  | 0.123457 |"]
    assert '"lr": 0.001' in texts("logs")["config"][0][1]
    assert len(texts("logs")["config"]) == 1
    assert hyperparameters("logs") == {
        "lr": 0.001, "flag": True, "n": 3.0, "name": "bert", "inner/x": 2.0, "l": "[1]",
        "of": "<class 'int'>", "3": 4.0,
    }  # fmt: skip
    assert end_status("logs") == "STATUS_SUCCESS"
    event = accumulated("logs").Scalars("train/loss")[0]
    assert event.wall_time == 1003.0


def test_nothing_of_tensorflow_is_imported():
    code = (
        "import sys\n"
        "from tf_hfwb.dashboards.log_entries import Row, Configuration\n"
        "from tf_hfwb.dashboards.tensorboard_writer import TensorBoardWriter\n"
        "TensorBoardWriter('logs').write([Configuration({'a': 1}), Row(1, 1.0, {'x': 1.0, 't': 'text'})])\n"
        "print(sorted({'tensorflow', 'wandb', 'torch', 'keras'} & set(sys.modules)))"
    )
    assert python("-c", code).stdout.strip() == "[]"
    assert scalars("logs") == {"x": [(1, 1.0)]}


def test_a_resumed_training_repeats_no_step():
    first = TensorBoardWriter("logs", is_given=False)
    first.begin(Training(0))
    first.write(rows(2, 4, 6, 8))  # Killed after the checkpoint of step 4.
    again = TensorBoardWriter("others", is_given=False)
    again.begin(Training(4, resumed=dict(first.identity), rows=rows(2, 4)))
    again.write(rows(6, 8, 10))
    assert [step for step, _ in scalars("logs")["train/loss"]] == [2, 4, 6, 8, 10]
    assert not os.path.exists("others")
    assert again.identity == first.identity


def test_a_training_that_is_resumed_elsewhere_has_the_rows_before_it():
    first = TensorBoardWriter("logs")
    first.begin(Training(0))
    first.write(rows(2, 4, 6))
    again = TensorBoardWriter("chosen")  # By the user, who wants it there.
    again.begin(Training(4, resumed=dict(first.identity), rows=rows(2, 4)))
    again.write(rows(6, 8))
    assert [step for step, _ in scalars("chosen")["train/loss"]] == [2, 4, 6, 8]
    assert [step for step, _ in scalars("logs")["train/loss"]] == [2, 4, 6]


def test_another_training_has_a_directory_of_its_own():
    for expected in ("logs", "logs/run-2"):
        writer = TensorBoardWriter("logs")
        writer.write([Configuration({"of": expected}), *rows(0)])  # An evaluation before it.
        writer.begin(Training(0))
        writer.write(rows(1, 2))
        if expected == "logs":
            assert writer.place == "logs"
            writer.close(1)
    writer.begin(Training(0))  # The same trainer trains anew.
    writer.write(rows(1))
    assert writer.place == "logs/run-2"
    assert [step for step, _ in scalars("logs/run-2")["train/loss"]] == [1]
    assert end_status("logs") == "STATUS_FAILURE"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is of Linux")
def test_files_of_one_second_are_read_in_the_order_in_which_they_were_written():
    writer = TensorBoardWriter("logs")
    for step in range(12):  # From 9 to 10, of any number of files before, the order of texts is another.
        writer.begin(Training(step=step))
        writer.write([Row(step=step + 1, time=0.0, values={"train/loss": float(step)})])
    writer.close(0)
    assert [step for step, _ in scalars("logs")["train/loss"]] == list(range(1, 13))


def test_a_full_disk_leaves_no_half_of_an_event_and_what_waited_is_written_later(caplog):
    """The limit of a file's size does what a full disk does: a write is cut off, and the next one fails."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    queue = EntryQueue([TensorBoardWriter("logs")])
    queue.add(rows(1)[0])
    queue.flush()
    (name,) = os.listdir("logs")
    size = os.path.getsize(f"logs/{name}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, limits[1]))
        for step in (2, 3):
            queue.add(rows(step)[0])
            queue.flush()
        assert os.path.getsize(f"logs/{name}") == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [record.message.split(":")[0] for record in caplog.records] == ["Writing for tensorboard failed (OSError"]
    assert os.strerror(errno.EFBIG) in caplog.text
    queue.add(rows(4)[0])
    queue.close()
    assert [step for step, _ in scalars("logs")["train/loss"]] == [1, 2, 3, 4]
    assert len(caplog.records) == 1


def test_what_is_lost_is_counted_and_training_continues(caplog):
    with open("logs", "w"):
        pass  # No directory can be made there.
    queue = EntryQueue([TensorBoardWriter("logs"), TensorBoardWriter("good")])
    for step in range(MAX_WAITING + 5):
        queue.add(Row(step, 0.0, {"x": 1}))
        if step % 1000 == 0:
            queue.flush()
    queue.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert f"{MAX_WAITING + 5} entries could not be written for tensorboard." in caplog.text
    assert len(scalars("good")["x"]) == MAX_WAITING + 5


def test_a_remote_directory_is_refused():
    with pytest.raises(SettingError, match=r"logging_dir=.gs://bucket/logs. cannot be used\. Expected a directory"):
        TensorBoardWriter("gs://bucket/logs")


def test_long_tables_say_what_is_left_out():
    text = markdown_table(["n"], [[n] for n in range(MAX_ROWS + 1)])
    assert text.endswith(f"\n{MAX_ROWS} of {MAX_ROWS + 1} rows.")
    assert markdown_table([], []) == "|  |\n|"
    assert "&#42;&#42;bold&#42;&#42;" in markdown_table(["**bold**"], [])
