"""The example that classifies pictures: its digits, pictures of one's own, and what is in the run."""

from __future__ import annotations

import pathlib
import re
import sys

import numpy as np
import pytest
from helpers import history
from PIL import Image
from test_eval_table import increments

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import image_classification
from image_classification import ImageArguments

SMALL = ["--max_samples", "60", "--num_train_epochs", "1", "--output_dir", "out"]


def test_the_digits_are_pictures_and_none_is_on_both_sides():
    pytest.importorskip("sklearn")
    splits = image_classification.load_pictures(ImageArguments())
    assert (len(splits["train"]), len(splits["test"])) == (1437, 360)
    row = splits["test"][0]
    assert row["image"].size == (32, 32)
    assert row["image"].mode == "RGB"
    assert splits["test"].features["label"].names == list("0123456789")
    again = image_classification.load_pictures(ImageArguments())
    assert [row["label"] for row in again["test"]] == [row["label"] for row in splits["test"]]


def test_what_is_no_directory_of_pictures_is_told_in_a_line(capsys):
    with pytest.raises(SystemExit) as exit:
        image_classification.main([*SMALL, "--data_dir", "nowhere"])
    assert exit.value.code == 2
    assert "The pictures cannot be loaded" in capsys.readouterr().err


def test_the_commonest_mistakes_are_told():
    guesses, right = np.array([0, 1, 1, 1, 0]), np.array([0, 0, 0, 1, 1])
    lines = image_classification.mistakes(guesses, right, ["cat", "dog"])
    assert lines[1] == "Accuracy 0.400 on 5 held-out pictures; one label always: 0.600."
    assert lines[2] == "  cat was taken for dog (2)"


@pytest.mark.nightly
@pytest.mark.slow
def test_pictures_are_in_the_table_of_the_run(capsys):
    pytest.importorskip("sklearn")
    image_classification.main([*SMALL, "--table_freq", "1"])
    said = capsys.readouterr().out
    assert "train: 48 pictures, held out: 12" in said
    assert re.search(r"Accuracy \d\.\d+ on 12 held-out pictures", said)
    assert any("eval/accuracy" in row for row in history())
    [table] = increments("wandb/latest-run")
    pictures = [row[table["columns"].index("image")] for row in table["data"]]
    assert [(one["_type"], one["width"]) for one in pictures] == [("image-file", 32)] * 12


@pytest.mark.nightly
@pytest.mark.slow
def test_a_directory_of_pictures_is_learnt(capsys):
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        pathlib.Path("pictures", label).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 255, (20 + number, 30, 3), np.uint8)
            Image.fromarray(pixels).save(f"pictures/{label}/{number}.png")
    image_classification.main(["--data_dir", "pictures", "--num_train_epochs", "1", "--report_to", "none"])
    assert "train: 16 pictures, held out: 4; labels: cat, dog" in capsys.readouterr().out
