"""``trainer_state.json``: what is read of it is of its kind, or the file is said to be damaged. How it is listed."""

from __future__ import annotations

import copy
import json
import math
import pathlib
import random
import re

import fuzzing
import numpy as np
import pytest
from helpers import classifier, needs, samples

from tf_hfwb import EarlyStopping, WandbMetricsLogger, WandbModelCheckpoint, restore
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.cli import main
from tf_hfwb.errors import CorruptCheckpointError, StateMismatchError
from tf_hfwb.resume.checkpoint_listing import checkpoints
from tf_hfwb.resume.checkpoint_participants import STATE_CHECKS
from tf_hfwb.resume.trainer_state import FACTS, TrainerState

pytestmark = [pytest.mark.core, pytest.mark.keras3]

SUMS = {"total": 1.5, "batches": 3, "samples": 12}
MOMENT = {"step": 2, "epoch": 0.5, "seconds": 0.25}
WHOLE = {
    "format": 1,
    "global_step": 5,
    "epoch": 1.25,
    "position": {"step": 5, "epoch": 1, "batch": 1, "batches": 5},
    "metrics": {"train/loss": 0.5, "eval/loss": 0.75, "eval/runtime": 2.5, "eval/samples_per_second": 10.5},
    "monitor": "eval/loss",
    "best_metric": 0.75,
    "best_step": 5,
    "run": {"id": "abc123", "project": "huggingface", "entity": "somebody", "name": "실험 2 😀"},
    "arguments": {"seed": 42, "nested": {"any": [1, None]}},
    "random": {"numpy": ["MT19937", 624, 0, 0.0], "python": [3, None]},
    "callbacks": {
        "WandbMetricsLogger": {
            "rows": {"interval": SUMS, "fit": SUMS, "row": MOMENT},
            "best": {"eval/loss": 0.75},
        },
        "EarlyStopping-eval/loss-0": {
            "wait": 1,
            "best": 0.75,
            "best_epoch": 1,
            "best_step": 5,
            "stopped_epoch": 0,
            "stopped_step": 0,
            "best_at": 1.25,
            "stopped_at": 0.0,
        },
        "GuestStates": {"ReduceLROnPlateau-0": {"wait": 0.0, "best": 0.75, "cooldown_counter": 0.0}},
        "EvaluateDuringFit": {"metrics": {"eval_loss": 0.75}},
        "TrainingTotals": {"losses": 2.5, "batches": 5},
        "StopAfterSteps": {"first_step": 0},
        "WandbEvalTable/sample_predictions": {"evaluations": 1},
        "WandbModelCheckpoint": {"best": 0.75, "best_step": 5, "monitor": "eval/loss", "steps_per_epoch": 4},
        "SomebodyElse": {"anything": ["goes", None]},
    },
    "log_history": [{"train/loss": 0.5, "train/epoch": 1.25, "train/global_step": 5}],
}


def written(content: bytes | str, name: str = "checkpoint-5") -> Checkpoint:
    store = Store("out")
    with store.exclusive(), store.draft(name) as draft:
        with draft.open(FACTS) as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return draft.commit()


def changed(place: str, value: object) -> dict:
    """The whole file with another value somewhere; None takes the key out."""
    facts = copy.deepcopy(WHOLE)
    *path, last = place.split(".")
    inner = facts
    for key in path:
        inner = inner[int(key) if isinstance(inner, list) else key]
    if value is None:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return facts


def test_the_whole_file_is_read():
    state = TrainerState.read(written(json.dumps(WHOLE)))
    logger = {
        "WandbMetricsLogger": {
            **WHOLE["callbacks"]["WandbMetricsLogger"],
            "log_history": WHOLE["log_history"],
            "older_rows": [],
        }
    }
    assert state.callbacks == WHOLE["callbacks"] | logger
    assert (state.global_step, state.epoch, state.best_step) == (5, 1.25, 5)
    assert (state.run, state.arguments, state.metrics) == (WHOLE["run"], WHOLE["arguments"], WHOLE["metrics"])
    assert (state.position.batches, state.numpy, state.python) == (5, ("MT19937", 624, 0, 0.0), (3, None))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("format", 4, r"format is 4\. Expected 3: a newer version of this package wrote it\. Upgrade it"),
        ("format", "1", "format is '1'. Expected 1"),
        ("format", None, r"format is missing\. Expected the keys format"),
        ("position", None, r"position is missing\. Expected the keys global_step"),
        ("position", [1], r"position is \[1\]. Expected an object"),
        ("position.step", "5", r"position\.step is '5'\. Expected a whole number from 0"),
        ("position.batch", -1, r"position\.batch is -1"),
        ("position.epoch", 1.0, r"position\.epoch is 1\.0"),
        ("position.batches", True, r"position\.batches is True"),
        ("position.batches", 10**400, r"position\.batches is 1000"),
        ("position.more", 1, r"position\.more is not known"),
        ("global_step", {}, r"global_step is \{\}"),
        ("epoch", "1", r"epoch is '1'\. Expected a number"),
        ("metrics", [], r"metrics is \[\]"),
        ("metrics.eval/loss", [0.5], r"metrics\.eval/loss is \[0\.5\]\. Expected a number"),
        ("best_step", "5", "best_step"),
        ("run", "abc", "run is 'abc'"),
        ("run.id", "../../x", r"run\.id is '\.\./\.\./x'\. Expected the id of a W&B run"),
        ("run.name", 7, r"run\.name is 7\. Expected a string"),
        ("arguments", [1], "arguments"),
        ("random", {}, "random"),
        ("random.numpy.0", "PCG64", r"random\.numpy\[0\] is 'PCG64'\. Expected 'MT19937'"),
        ("random.numpy.1", 625, r"random\.numpy\[1\] is 625\. Expected a whole number from 0 to 624"),
        ("random.numpy", ["MT19937"], "Expected a list of 4"),
        ("random.python.0", 2, r"random\.python\[0\] is 2\. Expected 3"),
        ("callbacks", [], "callbacks"),
        ("callbacks.SomebodyElse", 3, r"callbacks\.SomebodyElse is 3\. Expected an object"),
        ("callbacks.WandbMetricsLogger.rows", 3, r"callbacks\.WandbMetricsLogger\.rows is 3"),
        ("callbacks.WandbMetricsLogger.rows.interval.more", 3, "interval.more is not known"),
        ("callbacks.WandbMetricsLogger.best.eval/loss", "low", "Expected a number"),
        ("callbacks.EarlyStopping-eval/loss-0.wait", "1", "Expected a whole number"),
        ("callbacks.GuestStates.ReduceLROnPlateau-0.on_epoch_end", 1.0, "on_epoch_end is not known"),
        ("callbacks.WandbEvalTable/sample_predictions.evaluations", 1.5, "Expected a whole number"),
        ("log_history", {}, "Expected a list"),
        ("log_history.0", 1, r"log_history\[0\] is 1"),
        ("log_history.0.train/loss", "low", r"log_history\[0\]\.train/loss is 'low'"),
        ("log_history.0.train/global_step", "NaN", "Expected a whole number"),
    ],
)
def test_a_value_of_another_kind_is_named(place, value, said):
    checkpoint = written(json.dumps(changed(place, value)))
    with pytest.raises(CorruptCheckpointError, match=said) as caught:
        TrainerState.read(checkpoint)
    assert re.search(r"trainer_state\.json cannot be used: .* Expected .* Use another checkpoint", str(caught.value))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"format": ' + b"9" * 5000 + b"}",
        b'{"format": 1, "format": 1}',
        json.dumps(WHOLE).encode().replace(b"somebody", rb"some\ud800"),
    ],
    ids=["empty", "cut off", "no text", "deep", "digits", "twice", "half a pair"],
)
def test_what_is_no_json_for_others_is_refused(content):
    checkpoint = written(content)
    with pytest.raises(CorruptCheckpointError, match=r"trainer_state\.json cannot be read: .* Expected JSON"):
        TrainerState.read(checkpoint)


def test_a_file_that_the_manifest_does_not_name_is_not_read():
    store = Store("out")
    with store.exclusive(), store.draft("checkpoint-5") as draft:
        checkpoint = draft.commit()
    (checkpoint.path / FACTS).write_text(json.dumps(WHOLE))
    with pytest.raises(CorruptCheckpointError, match="the manifest does not name it"):
        TrainerState.read(checkpoint)


def test_any_value_at_any_place_is_read_or_refused():
    checkpoint = written(json.dumps(WHOLE))
    path, refused = checkpoint.path / FACTS, 0
    for seed in range(1500):
        path.write_bytes(fuzzing.damaged_json(json.dumps(WHOLE).encode(), random.Random(seed)))
        try:
            TrainerState.read(checkpoint)
        except CorruptCheckpointError:
            refused += 1
    assert refused > 600


def strict(text: str):
    """As readers of other languages read it."""

    def refuse(token: str) -> None:
        raise ValueError(token)

    return json.loads(text, parse_constant=refuse)


@needs("tf_keras")
def test_nan_and_infinity_are_written_as_json_and_read_as_numbers():
    model = classifier("tf_keras", learning_rate=float("inf"))
    data = samples(12)
    callbacks = [WandbMetricsLogger("batch"), EarlyStopping("val_loss", patience=9), WandbModelCheckpoint("out")]
    model.fit(*data, batch_size=4, validation_data=data, callbacks=callbacks, verbose=0)
    checkpoint = Store("out").checkpoints()[-1]
    text = (checkpoint.path / FACTS).read_text()
    assert strict(text)["log_history"][-1]["eval/loss"] == "NaN"
    for participant in strict(text)["callbacks"]:
        assert participant.startswith(tuple(STATE_CHECKS)), "its state is not looked at"

    state = TrainerState.read(checkpoint)
    (checkpoint.path / FACTS).write_text(re.sub('"(NaN|-?Infinity)"', r"\1", text))  # As it was written before.
    fuzzing.rewrite_manifest(checkpoint.path)
    assert "NaN" in (checkpoint.path / FACTS).read_text()
    before = TrainerState.read(Checkpoint.open(checkpoint.path))
    rows = [row for found in (state, before) for row in found.callbacks["WandbMetricsLogger"]["log_history"]]
    assert math.isnan(rows[-1]["eval/loss"])
    assert repr(state) == repr(before)

    position = restore(model, checkpoint.path)
    model.fit(*data, batch_size=4, epochs=2, validation_data=data, callbacks=callbacks, verbose=0)
    assert position.step == 3
    resumed = strict((Store("out").checkpoints()[-1].path / FACTS).read_text())
    assert resumed["log_history"][: len(rows) // 2] == strict(text)["log_history"]


@needs("tf_keras")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("random/numpy", np.zeros(623, np.uint32)),
        ("random/numpy", np.zeros(624, np.int64)),
        ("random/python", np.full(625, 625, np.uint32)),
        ("random/python", np.zeros((), np.uint32)),
        ("random/global", np.zeros(7, np.int64)),
        ("recorder", np.zeros(3, np.float32)),
        ("recorder", np.full(9, np.nan, np.float32)),
        ("recorder", np.zeros((5, 5), np.float32)),
        ("recorder", None),
        ("optimizer/0000/iteration", np.zeros(2, np.int64)),
        ("weights/0000/unknown", np.zeros(2, np.float32)),
    ],
)
def test_state_that_does_not_fit_changes_nothing(name, value, tmp_path):
    model = classifier("tf_keras", learning_rate=0.1)
    model.fit(*samples(8), batch_size=4, callbacks=[WandbModelCheckpoint(tmp_path / "out", save_freq=1)], verbose=0)
    first = Store(tmp_path / "out").checkpoints()[0]
    tensors = first.read_tensors("training_state.safetensors")
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    store = Store(tmp_path / "harmed")
    with store.exclusive(), store.draft("checkpoint-1") as draft:
        for file in first.files.keys() - {"training_state.safetensors"}:
            draft.reuse(file, first)
        draft.write_tensors("training_state.safetensors", tensors)
        harmed = draft.commit()
    before, drawn = model.get_weights(), np.random.get_state()[1].tobytes()
    with pytest.raises((CorruptCheckpointError, StateMismatchError)):
        restore(model, harmed.path)
    assert np.random.get_state()[1].tobytes() == drawn
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_one_damaged_checkpoint_does_not_hide_the_others(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for step in (5, 10, 15):
        written(json.dumps(changed("global_step", step)), f"checkpoint-{step}")
    (written("{}", "checkpoint-20").path / FACTS).write_text("{]")
    (pathlib.Path("out/checkpoint-15") / FACTS).write_bytes(b"")
    listed = checkpoints("out")
    assert [(one.step, one.damage is not None) for one in listed] == [(5, False), (10, False), (15, True), (20, True)]
    assert set(listed[0].metrics) == {"train/loss", "eval/loss"}  # Runtimes and rates are no metrics.
    assert main(["checkpoints", "out"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("damaged, see below") == 2
    assert "checkpoint-15/trainer_state.json is damaged" in printed
    assert "checkpoint-20/trainer_state.json cannot be read" in printed
    assert main(["checkpoints", "out", "--json"]) == 0
    found = strict(capsys.readouterr().out)
    assert [one["step"] for one in found] == [5, 10, 15, 20]
    assert found[0]["damage"] is None
    assert found[3]["damage"] == listed[3].damage
    for step in (5, 10):
        (pathlib.Path(f"out/checkpoint-{step}") / FACTS).write_bytes(b"{")
    assert main(["checkpoints", "out"]) == 1


def test_names_from_elsewhere_are_text_in_the_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    metrics = {"eval/bad[/name]": 0.5, "eval/f1[macro]": 0.25, "eval/\x1b[2Jgone": 0.125, "eval/worst": math.inf}
    written(json.dumps(changed("metrics", metrics)))
    assert main(["checkpoints", "out"]) == 0
    printed = capsys.readouterr().out
    assert "bad[/name] 0.5" in printed
    assert "f1[macro] 0.25" in printed
    assert r"eval/\x1b[2Jgone 0.125" in printed
    assert "eval/worst inf" in printed
    assert main(["checkpoints", "out", "--json"]) == 0
    assert strict(capsys.readouterr().out)[0]["metrics"]["eval/worst"] == "Infinity"
