"""The example that compares DistilBERT with BERT: its table, its plot, and its runs."""

from __future__ import annotations

import pathlib
import re
import sys

import pytest
from helpers import history, records

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import distilbert_vs_bert
from distilbert_vs_bert import Result

RESULTS = [
    Result("topic", "bert", 2_000_000, 12.3, 100.0, 0.8),
    Result("topic", "distilbert", 1_000_000, 6.2, 190.0, 0.79),
    Result("follows", "bert", 2_000_000, 22.0, 90.0, 0.9),
    Result("follows", "distilbert", 1_000_000, 11.0, 90.0, 0.9),
]


def test_the_table_and_the_plot_have_each_model_on_each_task(tmp_path):
    pytest.importorskip("matplotlib")
    lines = distilbert_vs_bert.table(RESULTS)
    assert len(lines) == 5
    assert re.fullmatch(r"topic +distilbert +1\.00 M +6 s +190/s \(1\.90 x\) +0\.790", lines[2])
    assert re.fullmatch(r"follows +bert +2\.00 M +22 s +90/s \(1\.00 x\) +0\.900", lines[3])
    file = distilbert_vs_bert.plot(RESULTS, tmp_path / "new" / "plot.png")
    assert file.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_task_is_told_in_a_line(capsys):
    with pytest.raises(SystemExit) as exit:
        distilbert_vs_bert.main(["--tasks", "topic,weather"])
    assert exit.value.code == 2
    assert "tasks='weather' is not recognised. Expected one of 'topic'" in capsys.readouterr().err


@pytest.mark.nightly
@pytest.mark.slow
def test_models_are_compared_in_runs_of_their_own(capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("WANDB_RUN_GROUP", "distilbert_vs_bert")
    monkeypatch.delenv("WANDB_MODE")  # As for somebody without an account.
    flags = ["--tasks", "topic,follows", "--max_train_samples", "64", "--max_eval_samples", "16", "--max_steps", "2"]
    distilbert_vs_bert.main(flags)
    said = capsys.readouterr().out
    rows = re.findall(r"^(topic|follows) +(bert|distilbert) +(\d\.\d\d) M ", said, re.MULTILINE)
    each = [(task, model) for task in ("topic", "follows") for model in ("bert", "distilbert")]
    assert [(task, model) for task, model, _ in rows] == each
    assert float(rows[1][2]) < float(rows[0][2])
    assert pathlib.Path("distilbert_vs_bert/comparison.png").stat().st_size > 1000
    runs = {}
    for folder in pathlib.Path("wandb").glob("offline-run-*"):
        run = next(record["run"] for record in records(folder) if record["type"] == "run")
        assert run["run_group"] == "distilbert_vs_bert"
        runs[run["display_name"]] = history(folder)
    assert set(runs) == {*map(" ".join, each), "comparison"}
    assert all(any("eval/accuracy" in row for row in runs[" ".join(one)]) for one in each)
    [logged] = runs["comparison"]
    assert {"comparison", "plot"} <= logged.keys()
