"""The example that compares searches: from nothing, interrupted, and with bad flags."""

from __future__ import annotations

import os
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import hyperparameter_search
import sentence_pairs
from text_data import DataTrainingArguments

SMALL = ["--num_train_epochs", "1", "--max_train_samples", "64", "--max_eval_samples", "16", "--output_dir", "out"]


def test_pairs_are_balanced_and_no_question_is_on_both_sides():
    pairs = sentence_pairs.load_pairs(DataTrainingArguments())
    for some in pairs.values():
        assert some.labels.count("entailment") == some.labels.count("not_entailment") == len(some) / 2
    questions = [{question for question, _ in some.rows} for some in pairs.values()]
    assert not questions[0] & questions[1]


@pytest.mark.nightly
def test_the_searches_are_compared_and_the_same_command_continues(capsys):
    argv = [*SMALL, "--report_to", "none", "--n_trials", "2", "--searches", "grid,bayes"]
    hyperparameter_search.main(argv)
    said = capsys.readouterr().out
    assert "train: 64 pairs, validation: 16 pairs" in said
    assert re.search(
        r"search +accuracy +steps +best hyperparameters\ngrid +[01]\.\d+ +4 .*\nbayes +[01]\.\d+ +4 ", said
    )
    assert "In W&B" not in said
    hyperparameter_search.main(argv)
    best = [
        re.findall(r"best hyperparameters\n(\w+ +\S+) .*(learning_rate.*)", text)
        for text in (said, capsys.readouterr().out)
    ]
    assert best[0] == best[1]


@pytest.mark.nightly
def test_one_search_with_runs(capsys):
    hyperparameter_search.main([*SMALL, "--n_trials", "1", "--searches", "bayes"])
    assert "named as the groups: search/trials" in capsys.readouterr().out
    assert len(list(pathlib.Path("wandb").glob("offline-run-*"))) == 2


@pytest.mark.nightly
def test_a_population_with_runs(capsys, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # For Ray's processes.
    hyperparameter_search.main([*SMALL, "--n_trials", "2", "--searches", "population"])
    assert re.search(r"\npopulation +[01]\.\d+ +4 ", capsys.readouterr().out)
    assert len(list(pathlib.Path("wandb").glob("offline-run-*"))) == 3


def test_an_unknown_kind_of_search_is_told_in_a_line(capsys):
    with pytest.raises(SystemExit) as exit:
        hyperparameter_search.main([*SMALL, "--searches", "grid,genetic"])
    assert exit.value.code == 2
    assert (
        "searches='genetic' is not recognised. Expected one of 'grid', 'bayes', 'population'" in capsys.readouterr().err
    )
