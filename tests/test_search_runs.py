"""The W&B runs of a search: one for each trial, and the search's own."""

from __future__ import annotations

import json
import logging
import os
import pathlib

import optuna
import pytest
import wandb
from helpers import classifier, history, records, samples

import tf_hfwb
from tf_hfwb.trainer.search.parallel_coordinates import Axis, draw

TRAIN, EVAL = samples(32), samples(20, seed=1)


@pytest.fixture(autouse=True)
def quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def search(n_trials, objective=lambda m: m["eval_loss"], make=lambda: classifier("keras"), **options):
    args = tf_hfwb.TFTrainingArguments(
        "out",
        max_steps=4,
        per_device_train_batch_size=8,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="no",
        report_to=options.pop("report_to", "wandb"),
        run_name=options.pop("run_name", None),
        disable_tqdm=True,
    )
    trainer = tf_hfwb.TFTrainer(args=args, model_init=make, train_dataset=TRAIN, eval_dataset=EVAL)

    def space(trial):
        return {"learning_rate": trial.suggest_categorical("learning_rate", [0.05, 0.04, 1e-6])}

    sampler = optuna.samplers.GridSampler({"learning_rate": [0.05, 0.04, 1e-6]}, seed=0)
    return trainer.hyperparameter_search(space, objective, n_trials=n_trials, sampler=sampler, **options)


def facts():
    """Name, group, tags, config, summary and exit code of each run, as they are on disk, in their order."""
    wandb.teardown()
    found = []
    for folder in sorted(pathlib.Path("wandb").glob("offline-run-*"), key=os.path.getmtime):
        record = records(folder)
        run = [one["run"] for one in record if one["type"] == "run"][-1]
        summary, config = {}, {}
        for one in record:
            summary |= one.get("summary", {}).get("update", {})
            if one["type"] in ("run", "config"):
                source = one[one["type"]]
                config |= source.get("config", source).get("update", {})
        code = [one["exit"].get("exit_code", 0) for one in record if one["type"] == "exit"]
        found.append({"run": run, "summary": summary, "config": config, "exit": code, "folder": folder})
    return found


def test_each_trial_has_a_run_in_the_group_of_the_search_and_the_search_one_of_its_own():
    def make(trial):
        if trial is not None and trial.params["learning_rate"] == 0.04:
            raise MemoryError("no room for it")
        return classifier("keras")

    start = float(classifier("keras").evaluate(*EVAL, verbose=0)[0])
    pruner = optuna.pruners.ThresholdPruner(upper=0.95 * start)
    best = search(3, make=make, pruner=pruner, run_name="rates", hp_name=lambda t: f"rate {t.params['learning_rate']}")
    *trials, own = facts()
    by_name = {one["run"]["display_name"]: one for one in trials}
    assert set(by_name) == {"rate 0.05", "rate 1e-06"}  # The other one has failed before it had a run.
    assert {one["run"].get("run_group") for one in [*trials, own]} == {"rates"}
    found, pruned = by_name["rate 0.05"], by_name["rate 1e-06"]
    assert (found["summary"]["objective"], found["summary"]["trial/state"]) == (best.objective, "complete")
    assert pruned["summary"]["trial/state"] == "pruned"
    assert pruned["run"]["tags"] == ["pruned"]
    assert "tags" not in found["run"]
    assert [one["exit"] for one in [*trials, own]] == [[0], [0], [0]]
    assert found["summary"]["eval/loss"] == best.objective
    assert own["run"]["display_name"] == "rates"
    assert own["summary"]["best/learning_rate"] == 0.05
    assert own["summary"]["best/run"] == found["run"]["run_id"]
    (row,) = [one for one in history(own["folder"]) if "search/trials" in one]
    assert row["search/trials"]["nrows"] == 3
    table = json.loads((own["folder"] / "files" / row["search/trials"]["path"]).read_text())
    rows = {line[1]: dict(zip(table["columns"], line, strict=True)) for line in table["data"]}
    assert rows["rate 0.05"]["best"] is True
    assert rows["rate 0.05"]["objective"] == best.objective
    assert rows["rate 0.05"]["run"] == found["run"]["run_id"]
    assert (rows["rate 1e-06"]["state"], rows["rate 1e-06"]["step"]) == ("pruned", 2)
    (failed,) = [one for one in rows.values() if one["state"] == "failed"]
    assert failed["error"] == "MemoryError: no room for it"
    picture = (own["folder"] / "files" / row["search/parallel_coordinates"]["path"]).read_text()
    assert picture.count("<polyline") == 2


@pytest.mark.nightly
def test_a_search_that_continues_has_one_run_of_its_own(caplog):
    search(1)
    search(2)
    search(2)
    own = [one for one in facts() if one["run"]["display_name"] == "search"]
    assert len(own) == 2
    assert len({one["run"]["run_id"] for one in own}) == 1


@pytest.mark.nightly
def test_a_run_of_the_users_is_used_as_it_is():
    with wandb.init(project="mine") as run:
        search(1)
        assert wandb.run is run
        assert run.summary["best/trial"] == "0"


@pytest.mark.nightly
def test_without_reports_there_is_no_run(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    search(1, report_to="none")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    search(2)
    assert "2 trials, 2 complete" in caplog.text
    assert not pathlib.Path("wandb").exists()


@pytest.mark.nightly
def test_without_reports_wandb_need_not_be_installed(launcher):
    script = """
import sys
sys.modules["wandb"] = None
import keras, numpy as np
from tf_hfwb import TFTrainer, TFTrainingArguments
def make():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    return model
data = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
args = TFTrainingArguments("out", max_steps=1, report_to="none", save_strategy="no")
trainer = TFTrainer(args=args, model_init=make, train_dataset=data, eval_dataset=data)
print(trainer.hyperparameter_search(lambda t: {"learning_rate": t.suggest_float("learning_rate", 0.1, 1)}, n_trials=1))
"""
    assert "BestRun(run_id='0'" in launcher.python(script).stdout


@pytest.mark.nightly
def test_several_objectives_are_in_the_summary():
    best = search(2, lambda m: (m["eval_loss"], m["eval_accuracy"]), direction=["minimize", "maximize"])
    *trials, own = facts()
    summaries = {(one["summary"]["objective_0"], one["summary"]["objective_1"]) for one in trials}
    assert {tuple(one.objective) for one in best} <= summaries
    assert "best/objective_1" in own["summary"]


def test_parallel_coordinates_of_words_gaps_and_what_is_not_finite():
    axes = [
        Axis("rate", [1e-5, 1e-1, None]),
        Axis("kind", ["a<b", "c", "c"]),
        Axis("same", [2, 2, 2]),
        Axis("objective", [0.5, float("inf"), 1.0]),
    ]
    picture = draw(axes, best=[0])
    assert picture.count("<polyline") == 3
    assert picture.count('stroke-width="4"') == 1
    assert "a&lt;b" in picture
    assert "nan" not in picture
    assert "inf" not in picture
    assert axes[0].places() == [0.0, 1.0, None]  # By powers of ten.
    assert axes[2].places() == [0.5, 0.5, 0.5]
    assert draw([], []) == draw([Axis("a", [])], []) == ""
