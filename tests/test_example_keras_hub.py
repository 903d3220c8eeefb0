"""The example with a Keras 3 model of KerasHub: what it needs, what is in the run, and what is loaded again."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys

import pytest
from helpers import history, records
from test_eval_table import increments

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import keras_hub_classification


def test_without_kerashub_a_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)  # As if it were not installed.
    with pytest.raises(SystemExit) as exit:
        keras_hub_classification.main([])
    assert exit.value.code == 2
    assert "Run `pip install keras-hub`." in capsys.readouterr().err


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("keras_hub") is None, reason="KerasHub is not installed")
def test_it_learns_stops_early_and_the_best_checkpoint_is_loaded(capsys):
    keras_hub_classification.main(["--num_train_epochs", "8", "--patience", "1"])
    said = capsys.readouterr().out
    accuracy = re.search(r"^Accuracy (\d\.\d\d) on \d+ held-out texts", said, re.MULTILINE)[1]
    assert re.search(
        rf"^The model in keras_hub_classification/checkpoint-\d+, loaded: {accuracy}\.$", said, re.MULTILINE
    )
    rows = history()
    assert any("train/loss" in row for row in rows)
    losses = [row["eval/loss"] for row in rows if "eval/loss" in row]
    assert min(losses) < losses[0]
    table = increments("wandb/latest-run")[-1]
    shown = dict(zip(table["columns"], table["data"][0], strict=True))
    assert re.search("[a-z]{3}", shown["text"])
    assert shown["correct"] == (shown["label"] == shown["prediction"])
    summaries = [record["summary"] for record in records() if record["type"] == "summary"]
    assert "early_stopping/best_step" in str(summaries)
