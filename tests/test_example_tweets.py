"""The example that writes in the manner of authors: whose texts it reads, and what is in the runs."""

from __future__ import annotations

import csv
import pathlib
import re
import sys

import pytest
from helpers import history, records
from test_eval_table import increments

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import tweets
from tweets import TweetArguments

from tf_hfwb.errors import DataError

ROWS = [
    (author, f"{word} is the {number}. thing.") for number in range(9) for author, word in (("A", "Up"), ("B", "It"))
]


def write(rows=ROWS) -> str:
    with open("tweets.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("author", "text"), *rows])
    return "tweets.csv"


def test_texts_are_sorted_by_author_and_empty_or_repeated_ones_left_out():
    rows = [*ROWS, ("A", ""), ("", "Nobody's"), ROWS[0], ("C", "Another's")]
    texts = tweets.load_texts(TweetArguments(file=write(rows)), ["A", "B"])
    assert {author: len(some) for author, some in texts.items()} == {"A": 9, "B": 9, "others": 1}
    with pytest.raises(DataError, match="There are 1 texts of 'C'"):
        tweets.load_texts(TweetArguments(file=write(rows)), ["A", "C"])
    with pytest.raises(DataError, match=r"has no column 'user'.*--author_column"):
        tweets.load_texts(TweetArguments(file=write(), author_column="user"), ["A"])


def test_the_quotes_have_authors(monkeypatch):
    try:
        texts = tweets.load_texts(TweetArguments(), ["Mark Twain", "Oscar Wilde"])
    except DataError as error:
        pytest.skip(str(error))
    assert len(texts["Mark Twain"]) > 50
    assert all(20 <= len(text) <= 280 and "--" not in text[-20:] for text in texts["Oscar Wilde"])
    assert len(texts["others"]) > 5000


@pytest.mark.nightly
@pytest.mark.slow
def test_each_author_is_a_run_with_a_table_that_grows(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_GROUP", "tweets")
    others = [("C", f"All of the {number} others write.") for number in range(20)]
    flags = ["--file", write([*ROWS, *others]), "--authors", "A,B", "--base_epochs", "1", "--num_train_epochs", "2"]
    tweets.main(flags)
    said = capsys.readouterr().out
    assert "A: 9 texts, B: 9 texts" in said
    told = re.findall(r"^([AB]) +9 +(\d+\.\d+) +(\d+\.\d+) +(-?\d+\.\d+)  ", said, re.MULTILINE)
    assert [author for author, *_ in told] == ["A", "B"]
    runs = {}
    for folder in pathlib.Path("wandb").glob("offline-run-*"):
        run = next(record["run"] for record in records(folder) if record["type"] == "run")
        assert run["run_group"] == "tweets"
        runs[run["display_name"]] = folder
    assert set(runs) == {"A", "B"}
    for author, before, after, _ in told:
        losses = [row["eval/loss"] for row in history(runs[author]) if "eval/loss" in row]
        assert losses[0] == pytest.approx(float(before), abs=0.006)
        assert losses[-1] == pytest.approx(float(after), abs=0.006)
        tables = increments(runs[author])
        assert len(tables) == 2
        assert {"prompt", "label", "prediction"} <= set(tables[0]["columns"])
