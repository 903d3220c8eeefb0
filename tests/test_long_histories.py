"""Trainings with thousands of rows: every checkpoint has them all, and a resume loses none."""

from __future__ import annotations

import json
import pathlib
import shutil

import fuzzing
import pytest
from helpers import classifier, finish, history, nightly, samples, train_rows

from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, restore
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.resume.trainer_state import FACTS, TrainerState
from tf_hfwb.tracking.run_history import run_folders

pytestmark = pytest.mark.core

STEP = "train/global_step"


def train(kind: str, epochs: int, source: str | pathlib.Path | None = None, out: str = "out") -> None:
    """Train for epochs of 500 steps, with a row at each."""
    model = classifier(kind, learning_rate=0.01)
    if source is not None:
        restore(model, source)
    callbacks = [WandbMetricsLogger("batch"), WandbModelCheckpoint(out, save_freq=600)]
    model.fit(*samples(1000), batch_size=2, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)


def rows_of(path: str | pathlib.Path) -> list[int]:
    return [row[STEP] for row in TrainerState.read(Checkpoint.open(path)).rows() if "train/loss" in row]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_long_training_is_resumed_from_a_copy_of_one_checkpoint(kind, tmp_path):
    train(kind, 5)
    run = TrainerState.read(Checkpoint.open("out/checkpoint-2500")).run["id"]
    finish()
    assert rows_of("out/checkpoint-600") == [*range(1, 601)]
    assert rows_of("out/checkpoint-2500") == [*range(1, 2501)]
    facts = {step: json.loads(pathlib.Path(f"out/checkpoint-{step}", FACTS).read_text()) for step in (600, 1200, 2400)}
    assert [facts[step]["format"] for step in (600, 1200, 2400)] == [1, 2, 2]
    assert "log_history_files" not in facts[600]
    assert len(facts[2400]["log_history"]) < 1000
    first = "log_history/000000000-000000999.jsonl"
    inodes = {pathlib.Path(f"out/checkpoint-{step}", first).stat().st_ino for step in (1200, 1800, 2400, 2500)}
    assert len(inodes) == 1

    shutil.copytree("out/checkpoint-2400", tmp_path / "copied" / "checkpoint-2400")
    shutil.rmtree("out")
    train(kind, 7, tmp_path / "copied/checkpoint-2400", "again")
    finish()
    shutil.rmtree(tmp_path / "copied")
    assert rows_of("again/checkpoint-3500") == [*range(1, 3501)]
    logged = [row[STEP] for folder in run_folders(run, "wandb") for row in train_rows(history(folder))]
    assert logged == [*range(1, 3501)]
    for checkpoint in Store("again").checkpoints():
        for piece in TrainerState.read(checkpoint).older_rows:
            piece.read()


@pytest.mark.nightly
def test_a_checkpoint_of_an_earlier_release_has_all_rows_in_one_file():
    train("tf_keras", 4)
    finish()
    path = pathlib.Path("out/checkpoint-1800")
    state = TrainerState.read(Checkpoint.open(path))
    facts = json.loads((path / FACTS).read_text())
    facts["log_history"], facts["format"] = [dict(row) for row in state.rows()], 1
    del facts["log_history_files"]
    shutil.rmtree(path / "log_history")
    (path / FACTS).write_text(json.dumps(facts))
    fuzzing.rewrite_manifest(path)
    assert rows_of(path) == [*range(1, 1801)]
    train("tf_keras", 5, path)
    assert rows_of("out/checkpoint-2500") == [*range(1, 2501)]
    assert len(json.loads(pathlib.Path("out/checkpoint-2500", FACTS).read_text())["log_history"]) < 1000


@pytest.mark.nightly
def test_rows_that_are_damaged_or_gone_hinder_no_resume(caplog):
    train("tf_keras", 3)
    finish()
    path = pathlib.Path("out/checkpoint-1500")
    shutil.rmtree(path / "log_history")
    train("tf_keras", 4, path)
    assert rows_of("out/checkpoint-2000")[-600:] == [*range(1401, 2001)]
    assert "rows of the history are in no checkpoint any more" in caplog.text
