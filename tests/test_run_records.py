"""Runs as they were recorded, read back: all were logged by W&B's own client, and what was killed was really killed."""

from __future__ import annotations

import inspect
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest
import wandb

from tf_hfwb.cli import main
from tf_hfwb.errors import ServerError, SettingError, TFHFWBError
from tf_hfwb.run_records.folder_steps import FolderSteps, arrange
from tf_hfwb.run_records.record_lookup import find_runs

pytestmark = pytest.mark.core

SCRIPT = """
import os, signal, time
import numpy as np, wandb

def begin(run_id, **options):
    return wandb.init(project="plain", id=run_id, **options)

picture = np.arange(48, dtype="uint8").reshape(4, 4, 3)
with begin("rich", name="a name", group="a group", job_type="train", tags=["one", "two"], notes="as noted",
           config={"rate": 0.1, "layers": {"sizes": [1, 2]}}) as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1), "eval": {"f1": {"micro": step}}, "note": "text", "nan": float("nan"),
                 "weights": wandb.Histogram([step, step + 1.0]), "seen": wandb.Image(picture)})
    run.log({"answers": wandb.Table(columns=["old"], data=[[0]])})
    run.log({"answers": wandb.Table(columns=["n", "picture"], data=[[1, wandb.Image(picture)], [2, None]])})
    growing = wandb.Table(columns=["n", "text"], log_mode="INCREMENTAL")
    for number in range(3):
        growing.add_data(number, f"row {number}")
        run.log({"grown/rows": growing, "loss": 0})
    time.sleep(1.5)
    run.config.update({"late": True})
    run.summary["best"] = 2
for first in (0, 10):
    with begin("resumed", resume="allow", config={f"from_{first}": first}) as run:
        for number in range(3):
            run.log({"n": first + number})
        time.sleep(1.1)  # The folders' names tell seconds.
with begin("failed") as run:
    try:
        with run:
            run.log({"n": 0})
            raise RuntimeError
    except RuntimeError:
        pass
run = begin("killed", settings=wandb.Settings(x_transaction_log_flush_interval=0.1))
for number in range(2000):
    run.log({"n": number})
time.sleep(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A directory in which a script has logged runs."""
    path = tmp_path_factory.mktemp("world")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"HOME": str(path / "home"), "WANDB_MODE": "offline", "WANDB_X_STATS_SAMPLING_INTERVAL": "1"}
    (path / "home").mkdir()
    settings = {"WANDB_SILENT": "true", "WANDB_X_SAVE_REQUIREMENTS": "false", "WANDB_CONSOLE": "off"}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=kept | own | settings, cwd=path, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return path


@pytest.fixture
def copied(world):
    """The same runs in a directory of the test's own."""
    return pathlib.Path(shutil.copytree(world / "wandb", "wandb", symlinks=True))


@pytest.fixture
def run_of(world):
    def find(run_id, place=world):
        (run,) = [run for run in find_runs([str(place)]) if run.run_id == run_id]
        return run

    return find


def folders_of(run_id: str, place) -> list[pathlib.Path]:
    return sorted(pathlib.Path(place).rglob(f"*-{run_id}"))


def test_a_run_of_the_client_is_what_it_was_opened_with(run_of):
    run = run_of("rich")
    assert (run.name, run.project, run.entity, run.group, run.job_type) == (
        "a name",
        "plain",
        None,
        "a group",
        "train",
    )
    assert (run.tags, run.notes, run.state, run.exit_code, run.url) == (
        ("one", "two"),
        "as noted",
        "finished",
        0,
        None,
    )
    assert run.config == {"rate": 0.1, "layers": {"sizes": [1, 2]}, "late": True}
    assert run.summary["best"] == 2
    assert run.summary["loss"] == 0
    assert math.isnan(run.summary["nan"])
    assert run.summary["eval"] == {"f1": {"micro": 2}}
    assert 1 <= run.runtime < 60  # Whole seconds of 1.5 and more.
    assert abs(run.started - os.path.getctime(run.folders[0])) < 60


def test_rows_come_one_at_a_time_as_they_were_logged(run_of):
    run = run_of("rich")
    rows = run.rows()
    assert inspect.isgenerator(rows)
    first = next(rows)
    rows.close()
    assert (first["_step"], first["loss"], first["eval.f1.micro"], first["note"]) == (0, 1, 0, "text")
    assert math.isnan(first["nan"])
    assert first["weights"]["_type"] == "histogram"
    assert first["weights"]["bins"][0] == 0
    assert sum(first["weights"]["values"]) == 2
    with open(run.file_of(first["seen"]), "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert run.file_of(first["weights"]) is None
    assert run.file_of(first["loss"]) is None
    assert [row["_step"] for row in run.rows()] == list(range(8))


def test_system_rows_have_a_time_and_numbers(run_of):
    run = run_of("rich")
    rows = list(run.system_rows())
    assert len(rows) >= 2
    assert abs(rows[0]["_timestamp"] - run.started) < 10
    assert rows[0]["_timestamp"] < rows[1]["_timestamp"]
    assert 0 < rows[0]["memory_percent"] < 100


def test_tables(run_of):
    run = run_of("rich")
    assert run.table_names() == ("answers", "grown/rows")
    answers = run.table("answers")  # The newest of its name.
    assert answers.columns == ("n", "picture")
    assert [row[0] for row in answers.rows] == [1, 2]
    with open(run.file_of(answers.rows[0][1]), "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert answers.rows[1][1] is None
    grown = run.table("grown/rows")
    assert grown.columns == ("n", "text")
    assert grown.rows == [[0, "row 0"], [1, "row 1"], [2, "row 2"]]
    with pytest.raises(SettingError, match=r"table='other' is not recognised. Expected one of 'answers', 'grown/rows'"):
        run.table("other")
    with pytest.raises(SettingError, match=r"table='other' cannot be used. Expected a run with tables"):
        run_of("resumed").table("other")


def test_a_table_of_which_files_are_missing(copied, run_of, caplog):
    run = run_of("rich", copied)
    staged = [run.source.find_file(part) for part in run._tables["grown/rows"]]
    media = sorted(copied.rglob("rows_*.table.json"))
    for path in [*staged[:1], *media[:1]]:
        os.rename(path, f"{path}.away")
    try:
        assert run.table("grown/rows").rows == [[1, "row 1"], [2, "row 2"]]
        assert "The table 'grown/rows' lacks the rows of 1 of 3 files" in caplog.text
        for path in media[1:]:
            path.write_text("{")
        for path in staged[1:]:
            os.rename(path, f"{path}.away")
        with pytest.raises(SettingError, match="a table whose file is here and whole"):
            run.table("grown/rows")
    finally:
        for path in staged:
            if os.path.exists(f"{path}.away"):
                os.rename(f"{path}.away", path)


def test_an_image_outside_of_the_run_is_none(run_of):
    assert run_of("rich").file_of({"_type": "image-file", "path": "../../../../etc/passwd"}) is None


@pytest.mark.parametrize("named", ["above", "directory", "first folder", "second folder", "file", "both"])
def test_a_resumed_run_is_one(world, named, caplog):
    first, second = folders_of("resumed", world)
    sources = {
        "above": [world],
        "directory": [world / "wandb"],
        "first folder": [first],
        "second folder": [second],
        "file": [second / "run-resumed.wandb"],
        "both": [second, first],
    }[named]
    (run,) = [run for run in find_runs([str(source) for source in sources]) if run.run_id == "resumed"]
    assert run.folders == (str(first), str(second))
    assert [(row["_step"], row["n"]) for row in run.rows()] == [*enumerate([0, 1, 2, 10, 11, 12])]
    assert run.config == {"from_0": 0, "from_10": 10}
    assert (run.summary["n"], run.summary["_step"]) == (12, 5)
    assert 2 <= run.runtime < 60
    assert "is not whole" not in caplog.text


def test_what_a_resumed_online_run_has_logged_again_replaces_what_was_there(copied):
    for folder in folders_of("resumed", copied):
        folder.rename(folder.with_name(folder.name.removeprefix("offline-")))
    (run,) = [run for run in find_runs([str(copied)]) if run.run_id == "resumed"]
    assert len(run.folders) == 2
    assert [(row["_step"], row["n"]) for row in run.rows()] == [(0, 10), (1, 11), (2, 12)]
    assert run.summary["_step"] == 2


def test_runs_of_a_directory_are_in_the_order_of_their_start(world):
    assert [run.run_id for run in find_runs([str(world)])] == ["rich", "resumed", "failed", "killed"]


def test_a_failed_run(run_of):
    run = run_of("failed")
    assert (run.state, run.exit_code, len(list(run.rows()))) == ("failed", 1, 1)


def test_a_killed_process_leaves_what_its_client_had_written(run_of, caplog):
    run = run_of("killed")
    for _ in range(2):
        assert [row["n"] for row in run.rows()] == list(range(2000))
    assert run.exit_code is None
    assert run.state != "finished"
    said = [record.message for record in caplog.records if "is not whole" in record.message]
    assert len(said) == 1
    assert run.folders[0] in said[0]


def test_show_warns_of_a_log_without_an_end(world, capsys, caplog):
    for run_id, number in {"failed": 0, "resumed": 0, "killed": 1}.items():
        (*_, folder) = folders_of(run_id, world)
        assert main(["show", str(folder)]) == 0
        assert caplog.text.count("is not whole (the run's end is not in it") == number
    assert re.findall(r"^step +(\d+)$", capsys.readouterr().out, re.M) == ["0", "5", "1999"]


def test_a_log_that_was_cut_or_damaged_gives_the_rest(copied, run_of, caplog):
    (folder,) = folders_of("killed", copied)
    log = folder / "run-killed.wandb"
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2])
    cut = [row["n"] for row in run_of("killed", copied).rows()]
    assert cut == list(range(len(cut)))
    assert 500 < len(cut) < 1500
    log.write_bytes(whole[:100_000] + bytes(100) + whole[100_100:])
    rows = [row["n"] for row in run_of("killed", copied).rows()]
    assert rows[0] == 0
    assert 1000 < len(rows) < 2000
    assert rows == sorted(set(rows))
    for size in (0, 3, 7, 60):
        log.write_bytes(whole[:size])
        run = run_of("killed", copied)
        assert list(run.rows()) == []
        assert run.name == "killed"
        assert run.summary == {}
    assert caplog.text.count("is not whole") == 6


def test_rows_that_only_the_rescue_file_has_follow_those_of_the_log(monkeypatch):
    with wandb.init(project="ours", id="rescued") as run:
        run.log({"train/loss": 1.0, "train/global_step": 1})
    wandb.teardown()
    (folder,) = folders_of("rescued", "wandb")
    lines = [
        {"row": {"train/loss": 1.0, "train/global_step": 1}},
        {"row": {"train/loss": "NaN", "train/global_step": 2}},
        {"summary": {"train_loss": 3.0}},
        {"exit_code": 1},
    ]
    (folder / "tf_hfwb-rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run,) = find_runs([str(folder)])
    assert [(row["_step"], row["train/global_step"]) for row in run.rows()] == [(0, 1), (1, 2)]
    assert run.summary["train_loss"] == 3.0
    assert run.exit_code == 1


def test_the_steps_of_folders():
    inf = math.inf
    offline, online = [FolderSteps(True, 0, 9), FolderSteps(True, 0, 4)], FolderSteps(False, 8, 12)
    assert arrange(offline) == [(0, 10), (10, inf)]
    assert arrange([FolderSteps(True, 0, 9, further=3), offline[1]]) == [(0, 13), (13, inf)]
    assert arrange([FolderSteps(True, None, None), offline[1]]) == [(0, 0), (0, inf)]
    assert arrange([FolderSteps(True, 0, 9), FolderSteps(True, 20, 21)]) == [(0, 20), (0, inf)]
    # What only the log of the killed process has is replaced by what came after it.
    assert arrange([FolderSteps(False, 0, 9), online]) == [(0, 8), (0, inf)]
    assert arrange([]) == []


def test_names_that_are_no_run(world, copied):
    pathlib.Path("empty").mkdir()
    pathlib.Path("results.txt").write_text("")
    pathlib.Path("runs/wandb").mkdir(parents=True)
    paths = ["./wandb/offline-run-typo", "../a/b", "~/a/b", "/a/b", "runs/wandb/mistyped", "runs/wandb/mistyped/"]
    names = ["out/wandb/offline-run-typo", "out/wandb/run-20260401_101500-3xk9", "a/b/run-3xk9.wandb"]
    for source in ("empty", "results.txt", "nowhere", "a/b", "a/b/c/d", *paths, *names):
        with pytest.raises(SettingError, match=r"run='.*' cannot be used. Expected (the folder of a run|entity)"):
            find_runs([source])
    assert find_runs([]) == []
    with pytest.raises(TFHFWBError):
        find_runs([str(world), "empty"])


@pytest.fixture
def online_run(server):
    """A run on the server."""
    with wandb.init(
        project="plain", id="there", name="a name", group="g", job_type="train", tags=["one"], notes="as noted"
    ) as run:
        run.config.update({"layers": {"sizes": [1, 2]}})
        for step in range(3):
            run.log({"loss": step, "eval": {"f1": step / 2}, "nan": math.nan, "weights": wandb.Histogram([0, step])})
        run.log({"answers": wandb.Table(columns=["n"], data=[[1], [2]])})
        run.summary["best"] = 2
    wandb.teardown()
    return "tester/plain/there"


def test_a_run_on_the_server_is_the_one_on_this_machine(online_run, caplog):
    (there,), (here,) = find_runs([online_run]), find_runs(["wandb"])
    names = ("run_id", "name", "project", "group", "job_type", "tags", "notes", "state", "exit_code", "config")
    assert [getattr(there, name) for name in names] == [getattr(here, name) for name in names]
    assert there.entity == "tester"
    assert there.url.endswith("/tester/plain/runs/there")
    assert there.summary["best"] == here.summary["best"] == 2
    assert there.folders == ()
    assert list(map(repr_of, there.rows())) == list(map(repr_of, here.rows()))
    assert there.table_names() == ("answers",)
    assert there.table("answers") == here.table("answers")
    assert {*next(there.system_rows())} >= {"_timestamp", "memory_percent"}
    (by_address,) = find_runs([there.url])
    assert by_address == there
    assert [record for record in caplog.records if record.name == "tf_hfwb"] == []


def repr_of(row) -> str:
    """A row as text, in which NaN is equal to NaN."""
    return json.dumps(row, sort_keys=True)


def test_a_run_that_the_server_does_not_have(server):
    with pytest.raises(
        SettingError, match=r"run='tester/plain/other' cannot be used. Expected a run that W&B has.*or a folder"
    ):
        find_runs(["tester/plain/other"])


def test_without_a_server_the_error_says_that_no_folder_is_there_either(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(ServerError, match=r"the run 'a/b/c', as there is no such folder here, failed: "):
        find_runs(["a/b/c"])
