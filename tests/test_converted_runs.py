"""``tf-hfwb show --tensorboard`` and ``--trackio``: runs that W&B's own client has logged, in another dashboard."""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from event_files import end_status, hyperparameters, scalars, tensors, texts
from recorded_runs import record_in_memory

from tf_hfwb.cli import main
from tf_hfwb.dashboards.log_entries import Row, TableRows
from tf_hfwb.dashboards.tensorboard_writer import TensorBoardWriter
from tf_hfwb.run_records.record_entries import RecordEntries
from tf_hfwb.run_records.run_conversion import convert_runs
from tf_hfwb.run_records.run_record import RunRecord

pytestmark = pytest.mark.core

SCRIPT = """
import time
import numpy as np, wandb

picture = np.arange(48, dtype="uint8").reshape(4, 4, 3)
with wandb.init(project="plain", id="rich", name="a/name", group="g", config={"rate": 0.1, "inner": {"n": 2}}) as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1), "eval": {"f1": step}, "note": "text", "nan": float("nan"), "list": [1, 2],
                 "weights": wandb.Histogram([step, step + 1.0]), "seen": wandb.Image(picture, caption="here"),
                 "many": [wandb.Image(picture), wandb.Image(picture)], "page": wandb.Html("<p>")})
    run.log({"answers": wandb.Table(columns=["n", "picture"], data=[[1, wandb.Image(picture)], [2, None]])})
    time.sleep(2.5)
    run.summary["best"] = 2
for first in (0, 10):  # Offline, each part counts from 0.
    with wandb.init(project="plain", id="resumed", name="a/name", resume="allow") as run:
        for number in range(3):
            run.log({"n": first + number, "train/global_step": 2 * (first + number)})
        time.sleep(1.1)  # The folders' names tell seconds.
table = wandb.Table(columns=["train/global_step", "text"], log_mode="INCREMENTAL")
with wandb.init(project="plain", id="grown", name="grown") as run:
    for step in (5, 10):
        table.add_data(step, f"row {step}")
        run.log({"samples": table, "train/global_step": step})
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("runs")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"HOME": str(path), "WANDB_MODE": "offline", "WANDB_X_STATS_SAMPLING_INTERVAL": "1", "WANDB_SILENT": "true"}
    settings = {"WANDB_X_SAVE_REQUIREMENTS": "false", "WANDB_CONSOLE": "off"}
    subprocess.run([sys.executable, "-c", SCRIPT], env=kept | own | settings, cwd=path, check=True, timeout=120)
    return path / "wandb"


def folder(runs: pathlib.Path, run_id: str) -> str:
    return str(sorted(runs.glob(f"*run-*-{run_id}"))[0])


def test_a_run_of_others_in_tensorboard(runs, capsys):
    assert main(["show", "--tensorboard", str(runs), "--convert-only", "logs"]) == 0
    assert sorted(os.listdir("logs")) == ["a-name", "a-name-resumed", "grown"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a/name (rich); left out: 3 x html-file, 3 x lists"
    assert lines[1] == "a/name (resumed)"
    found = scalars("logs/a-name")
    assert [value for _, value in found["loss"]] == pytest.approx([1.0, 0.5, 1 / 3])
    assert found["eval.f1"] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert len(found["nan"]) == 3
    assert np.isnan([value for _, value in found["nan"]]).all()
    assert found["best"][-1][1] == 2
    assert any(name.startswith("system/") for name in found)
    ((step, bins), *_) = tensors("logs/a-name", "histograms")["weights"]
    assert (step, bins[:, 2].sum()) == (0, 2)
    images = tensors("logs/a-name", "images")
    assert set(images) == {"seen", "many/0", "many/1"}
    assert images["seen"][0][1][:2].tolist() == [b"4", b"4"]
    shown = texts("logs/a-name")
    assert shown["note"] == [(0, "text"), (1, "text"), (2, "text")]
    assert shown["answers"][0][1].splitlines()[2:] == ["| 1 | picture of 4 x 4 |", "| 2 |  |"]
    assert hyperparameters("logs/a-name") == {"rate": 0.1, "inner/n": 2.0}
    assert end_status("logs/a-name") == "STATUS_SUCCESS"
    resumed = scalars("logs/a-name-resumed")["n"]
    assert resumed == [(2 * number, float(number)) for number in (0, 1, 2, 10, 11, 12)]
    assert [step for step, _ in texts("logs/grown")["samples"]] == [5, 10]


def test_what_cannot_be_converted_is_said(runs, capsys):
    assert main(["show", "--tensorboard", "nowhere", "--convert-only", "logs"]) == 1
    assert main(["show", "--tensorboard", "--trackio", "--convert-only", "logs"]) == 1
    assert main(["show", folder(runs, "rich"), "--convert-only", "logs"]) == 1
    os.makedirs("full/of")
    assert main(["show", "--tensorboard", folder(runs, "rich"), "--convert-only", "full"]) == 1
    said = capsys.readouterr().err
    assert "run='nowhere' cannot be used. Expected the folder of a run" in said
    assert said.count("Expected one of --tensorboard and --trackio") == 2
    assert "--convert-only='full' cannot be used. Expected a new or an empty directory" in said
    assert not os.path.exists("logs")


def serve(*words: str, **environment: str):
    """The process of a dashboard, and its address."""
    code = "import sys; from tf_hfwb.cli import main; sys.exit(main(sys.argv[1:]))"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": os.getcwd(), **environment}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "show", *words], env=variables, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        found = re.search(r" is at (http\S+?)/?\. Ctrl-C ends it", line)
        if found:
            return process, found.group(1)
    raise AssertionError(process.wait())


def ask(address: str, body: dict | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_of_tensorboard_has_the_run(runs, number):
    process, address = serve("--tensorboard", folder(runs, "rich"))
    try:
        assert "//127.0.0.1:" in address or "//localhost:" in address
        for _ in range(60):
            tags = ask(f"{address}/data/plugin/scalars/tags")
            if "loss" in tags.get("a-name", {}):
                break
            time.sleep(0.5)
        points = ask(f"{address}/data/plugin/scalars/scalars?run=a-name&tag=loss")
        assert [step for _, step, _ in points] == [0, 1, 2]
        assert "weights" in ask(f"{address}/data/plugin/histograms/tags")["a-name"]
        assert "seen" in ask(f"{address}/data/plugin/images/tags")["a-name"]
        body = {"experimentName": "", "colParams": [], "allowedStatuses": ["STATUS_SUCCESS"], "sliceSize": 9}
        (group,) = ask(f"{address}/data/plugin/hparams/session_groups", body)["sessionGroups"]
        assert group["hparams"] == {"rate": 0.1, "inner/n": 2.0}
    finally:
        process.send_signal(number)
        assert process.wait(30) == 0
    assert not [name for name in os.listdir() if name.startswith("tf-hfwb-")]


@pytest.mark.nightly
def test_the_server_of_tensorboard_forgets_repeated_steps():
    """Its own reader of events in Rust does so in a way of its own."""
    from tensorboard import program

    from tf_hfwb.dashboards.entry_writer import Training

    first = TensorBoardWriter("logs/a", is_given=False)
    first.write([Row(step, time.time(), {"x": step}) for step in (2, 4, 6, 8)])
    again = TensorBoardWriter("logs/b", is_given=False)
    again.begin(Training(4, resumed=dict(first.identity)))
    again.write([Row(step, time.time(), {"x": step}) for step in (6, 8, 10)])
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", "logs", "--host", "127.0.0.1", "--port", "0"])
    address = server.launch()
    for _ in range(60):
        if "x" in ask(f"{address}data/plugin/scalars/tags").get("a", {}):
            break
        time.sleep(0.5)
    points = ask(f"{address}data/plugin/scalars/scalars?run=a&tag=x")
    assert [step for _, step, _ in points] == [2, 4, 6, 8, 10]


def test_a_run_of_others_in_trackio(runs, tmp_path, capsys):
    pytest.importorskip("trackio")
    code = (
        "import sys, json, os; from tf_hfwb.cli import main; main(sys.argv[1:])\n"
        "from trackio.sqlite_storage import SQLiteStorage as S\n"
        "runs = S.get_runs('plain')\n"
        "facts = [runs, S.get_logs('plain', 'a-name'), S.get_run_config('plain', 'a-name'),\n"
        "         S.get_system_logs('plain', 'a-name'), S.get_logs('plain', 'a-name-resumed')]\n"
        "print(); print(json.dumps(facts, default=str))"
    )
    words = ["show", "--trackio", str(runs), "--convert-only", "database"]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    names, rows, config, uses, resumed = json.loads(ended.stdout.splitlines()[-1])
    assert sorted(names) == ["a-name", "a-name-resumed", "grown"]
    assert [row["loss"] for row in rows if "loss" in row] == pytest.approx([1, 1 / 2, 1 / 3])
    assert rows[0]["weights"]["_type"] == "trackio.histogram"
    assert rows[0]["seen"]["_type"] == "trackio.image"
    (table,) = [row["answers"]["_value"] for row in rows if "answers" in row]
    assert [cells["n"] for cells in table] == [1, 2]
    assert table[0]["picture"]["_type"] == "trackio.image"
    assert (config["rate"], config["_Group"]) == (0.1, "g")
    assert len(uses) >= 1
    assert [row["step"] for row in resumed if "n" in row] == [0, 2, 4, 20, 22, 24]


@pytest.mark.nightly
def test_the_server_of_trackio_has_the_run(runs):
    pytest.importorskip("trackio")
    process, address = serve("--trackio", folder(runs, "rich"))
    try:
        assert "//127.0.0.1:" in address
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"rackio" in answer.read()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_without_a_name_the_latest_run_is_shown_as_with_show_alone(runs):
    shutil.copytree(runs, "wandb", ignore=lambda *_: ["latest-run"])
    assert main(["show", "--tensorboard", "--convert-only", "logs"]) == 0
    assert os.listdir("logs") == ["grown"]


def convert(*runs):
    """Convert runs that are in memory; returns what became of each, and the directories."""
    names = []

    def make_writer(run, name):
        names.append(name)
        return TensorBoardWriter(os.path.join("logs", name))

    return [*convert_runs(runs, make_writer)], names


def test_any_name_of_a_run_makes_a_directory_of_its_own():
    long, rows = "\N{CJK UNIFIED IDEOGRAPH-9577}" * 120, [{"n": 1.0}]
    given = [long, long, "a/b\nc\x1b", "..", "", "", "x" * 300]
    found, names = convert(
        *(record_in_memory(rows, name=name, run_id=f"id{number}") for number, name in enumerate(given)),
        *(record_in_memory(rows, name="x" * 300, run_id="i" * 128 + end) for end in "ab"),
    )
    assert [one.is_done for one in found] == [True] * 9
    assert sorted(names) == sorted(os.listdir("logs"))
    assert names[:6] == [long[:66], f"{long[:40]}-id1", "a-b-c-", "..-id3", "-id4", "-id5"]
    assert max(len(name.encode()) for name in names) <= 205


def test_a_step_that_is_no_number_is_that_of_the_row_before(tmp_path):
    rows = [{"train/global_step": step, "n": 1.0} for step in (3, math.nan, math.inf, "NaN", 4)]
    table = (["train/global_step", "n"], [[math.nan, 1], [2, 2], [math.inf, 3]])
    run = record_in_memory(rows, tables={"samples": table}, directory=tmp_path)
    entries = [*RecordEntries(run)]
    assert [entry.step for entry in entries if isinstance(entry, Row)] == [3, 3, 3, 3, 4]
    assert [(entry.step, len(entry.rows)) for entry in entries if isinstance(entry, TableRows)] == [(4, 2), (2, 1)]


def test_a_run_that_cannot_be_converted_does_not_stop_the_others(runs, monkeypatch, capsys):
    def system_rows(self):
        if self.run_id == "rich":
            raise ValueError("no \x1b rows")
        return iter(())

    monkeypatch.setattr(RunRecord, "system_rows", system_rows)
    assert main(["show", "--tensorboard", str(runs), "--convert-only", "logs"]) == 1
    said = capsys.readouterr()
    assert r"error: a/name (rich) could not be converted: ValueError: no \x1b rows" in said.err
    assert said.out.splitlines() == ["a/name (resumed)", "grown (grown)"]
    assert sorted(os.listdir("logs")) == ["a-name-resumed", "grown"]
