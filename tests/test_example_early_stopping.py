"""The example that compares ways to stop early: its table, its runs, and whose weights are left."""

from __future__ import annotations

import os
import pathlib
import re
import sys

import pytest
import transformers
from helpers import history, records

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import early_stopping
from early_stopping import Outcome

WAYS = ["to the end", "Keras by epochs", "ours by epochs", "ours by steps", "ours, not restored"]


def test_the_table_says_what_was_saved_and_which_weights_are_left():
    losses = {4: 1.0, 8: 0.5, 12: 0.7}
    kept, lost = Outcome("kept", 12, 3.4, losses, 0.5, 0.9), Outcome("lost", 24, 7.0, losses, 0.7, 0.8)
    assert (kept.best_step, kept.held_step) == (8, 8)
    assert (lost.best_step, lost.held_step) == (8, 12)
    printed = early_stopping.table([lost, kept])
    assert re.search(r"lost +24 +7 s +0% +8  last \(step 12\) +0\.700 +0\.800", printed)
    assert re.search(r"kept +12 +3 s +50% +8  best \(step 8\) +0\.500 +0\.900", printed)


@pytest.mark.nightly
@pytest.mark.slow
def test_each_way_to_stop_is_a_run_of_the_group(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_GROUP", "early_stopping")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    transformers.BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).save_pretrained("tiny")
    flags = ["--config_name", "tiny", "--num_train_epochs", "6", "--max_train_samples", "64", "--looks", "2"]
    early_stopping.main([*flags, "--max_eval_samples", "16", "--patience", "1", "--learning_rate", "0.3"])
    said = capsys.readouterr().out
    rows = re.findall(r"^(\w.*\w) +(\d+) +\d+ s +\d+% +(\d+)  (best|last) \(step (\d+)\)", said, re.MULTILINE)
    assert [name.strip() for name, *_ in rows] == WAYS
    steps = [int(number) for _, number, *_ in rows]
    assert steps[0] == 12
    assert steps[1] == steps[2] == steps[4] < 12  # At such a rate the loss is soon higher than it was.
    assert [kind for *_, kind, _ in rows[1:]] == ["best", "best", "best", "last"]

    runs = sorted(pathlib.Path("wandb").glob("offline-run-*"), key=os.path.getmtime)
    told = [next(record["run"] for record in records(run) if record["type"] == "run") for run in runs]
    assert {run["display_name"] for run in told} == set(WAYS)
    assert {run["run_group"] for run in told} == {"early_stopping"}
    assert all(any("eval/loss" in row for row in history(run)) for run in runs)
