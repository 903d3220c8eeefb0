"""Agents of W&B's sweeps, which run a script or a function for each set of parameters."""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys
import time

import pytest
import tiny
import transformers
import wandb
from helpers import samples
from wandb.agents import pyagent

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SearchError, SettingError

SCRIPT = """
import tiny
from helpers import samples
from transformers import HfArgumentParser
from tf_hfwb import TFTrainer, TFTrainingArguments

(args,) = HfArgumentParser(TFTrainingArguments).parse_args_into_dataclasses()
data = tiny.named(samples(12))
TFTrainer(tiny.functional("tf_keras"), args, train_dataset=data, eval_dataset=data).train()
"""


@pytest.mark.nightly
def test_an_agent_runs_a_script_once_for_each_set_of_parameters(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("script.py").write_text(SCRIPT)
    fixed = {"eval_strategy": "epoch", "save_strategy": "no", "output_dir": "out", "per_device_train_batch_size": 4}
    parameters = {"learning_rate": {"values": [1e-2, 1e-3]}, **{name: {"value": fixed[name]} for name in fixed}}
    metric = {"name": "eval/loss", "goal": "minimize"}
    config = {"method": "grid", "program": "script.py", "metric": metric, "parameters": parameters}
    name = wandb.sweep(config, entity="tester", project="questions")
    scripts = pathlib.Path(sys.executable).parent
    path = {"PATH": os.pathsep.join([str(scripts), os.environ["PATH"]]), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [str(scripts / "wandb"), "agent", f"tester/questions/{name}"]
    ended = subprocess.run(command, env={**os.environ, **path}, capture_output=True, text=True, timeout=300)
    runs = server.sweep(name).runs
    assert [run.config["learning_rate"] for run in runs] == [1e-2, 1e-3], ended.stderr
    assert {(run.attributes["sweep"], run.state, run.history[-1]["train/global_step"]) for run in runs} == {
        (name, "finished", 9)
    }
    for run in runs:
        assert run.summary["eval/loss"] == [row["eval/loss"] for row in run.history if "eval/loss" in row][-1]


@pytest.fixture
def quick_agent(monkeypatch):
    monkeypatch.setattr(pyagent.Agent, "HEARTBEAT_SLEEP_SECONDS", 0.1)


def searching(output_dir="out", *, kind="keras", **options):
    data = tiny.named(samples(12))
    defaults = {"eval_strategy": "epoch", "save_strategy": "no", "per_device_train_batch_size": 4, "disable_tqdm": True}
    args = TFTrainingArguments(output_dir, **{"num_train_epochs": 2, **defaults, **options})
    return TFTrainer(args=args, model_init=lambda: tiny.functional(kind), train_dataset=data, eval_dataset=data)


def grid(_):
    return {"method": "grid", "parameters": {"learning_rate": {"values": [1e-3, 1e-1, 1e-2]}}}


def test_a_sweep_is_searched(server, quick_agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = searching().hyperparameter_search(
        grid, lambda metrics: metrics["eval_loss"], backend="wandb", name="rates", hp_name=lambda p: str(p)
    )
    sweep = server.sweep(best.run_summary)
    assert sweep.config["metric"] == {"name": "objective", "goal": "minimize"}
    assert [run.config["learning_rate"] for run in sweep.runs] == [1e-3, 1e-1, 1e-2]
    for run in sweep.runs:
        logged = [row["objective"] for row in run.history if "objective" in row]
        assert len(logged) == 2
        assert logged[-1] == run.summary["objective"] == run.summary["eval/loss"]
        assert (run.state, run.summary["trial/state"]) == ("finished", "complete")
        assert (run.attributes["groupName"], run.name) == (
            "rates",
            f"{{'learning_rate': {run.config['learning_rate']}}}",
        )
    found = {run.id: run.summary["objective"] for run in sweep.runs}
    assert best.run_id == min(found, key=found.get)
    assert best.objective == min(found.values())
    assert best.hyperparameters == {"learning_rate": server.runs[best.run_id].config["learning_rate"]}
    [own] = [run for run in server.runs.values() if run not in sweep.runs]
    assert own.summary["best/run"] == best.run_id


class Breaks(transformers.TrainerCallback):
    """Ends trainings with a certain learning rate."""

    def __init__(self, rate, error):
        self.rate, self.error = rate, error

    def on_step_end(self, args, state, control, **more):
        if args.learning_rate == self.rate:
            raise self.error


@pytest.mark.nightly
def test_a_trial_that_fails_is_one_failed_trial(server, quick_agent, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "tf_hfwb")
    trainer = searching(kind="tf_keras")
    trainer.add_callback(Breaks(1e-1, ValueError("no luck")))
    trainer.add_callback(Breaks(1e-3, MemoryError("too large")))
    best = trainer.hyperparameter_search(grid, backend="wandb")
    sweep = server.sweep(best.run_summary)
    assert [run.state for run in sweep.runs] == ["failed", "failed", "finished"]
    assert best.hyperparameters == {"learning_rate": 1e-2}
    assert "has failed (ValueError: no luck). The search continues." in caplog.text
    assert "3 trials, 1 complete, 2 failed" in caplog.text
    own = next(run for run in server.runs.values() if run not in sweep.runs)
    assert own.config["search/trials"] == 3


@pytest.mark.nightly
def test_where_no_trial_is_complete_it_is_an_error(server, quick_agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match=r"None of the 3 trials .* The objective is nan"):
        searching().hyperparameter_search(grid, lambda metrics: float("nan"), backend="wandb")


@pytest.mark.nightly
def test_the_server_ends_trials_early(server, quick_agent, tmp_path, monkeypatch):
    """Hyperband of the stand-in: after one value a trial that is not among the better half is ended."""
    monkeypatch.chdir(tmp_path)

    def space(_):
        stop = {"type": "hyperband", "min_iter": 1}
        return {"method": "grid", "parameters": {"learning_rate": {"values": [1e-1, 1e-9]}}, "early_terminate": stop}

    class Slow(transformers.TrainerCallback):
        def on_epoch_begin(self, args, state, control, **more):
            if args.learning_rate < 1e-3 and state.global_step:
                for _ in range(100):
                    time.sleep(0.1)

    trainer = searching(num_train_epochs=4)
    trainer.add_callback(Slow())
    best = trainer.hyperparameter_search(space, lambda metrics: metrics["eval_loss"], backend="wandb")
    first, second = server.sweep(best.run_summary).runs
    assert best.run_id == first.id
    assert (second.attributes["tags"], second.summary["trial/state"]) == (["pruned"], "pruned")
    assert 1 <= sum("objective" in row for row in second.history) < 4


@pytest.mark.nightly
def test_a_second_process_joins_a_sweep(server, quick_agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = searching().hyperparameter_search(grid, backend="wandb", n_trials=1)
    second = searching().hyperparameter_search(backend="wandb", sweep_id=first.run_summary)
    assert second.run_summary == first.run_summary
    assert [run.config["learning_rate"] for run in server.sweep(first.run_summary).runs] == [1e-3, 1e-1, 1e-2]
    assert second.hyperparameters["learning_rate"] in (1e-1, 1e-2)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (lambda _: {"learning_rate": [1]}, {}, "hp_space=.*Expected a function of None that returns the configuration"),
        (
            lambda _: {"method": "grid", "parameters": {"learning_rat": {"value": 1}}},
            {},
            "hp_space='learning_rat'.*learning_rate",
        ),
        (
            lambda _: {"method": "grid", "parameters": {"warmup_steps": {"values": [1, -2]}}},
            {},
            "warmup_steps=-2",
        ),
        (grid, {"direction": ["minimize", "maximize"]}, "a sweep has a single metric"),
        (grid, {"count": 3}, "'count'.*sweep_id"),
    ],
)
def test_mistakes_are_told_before_the_sweep_begins(server, space, options, message):
    with pytest.raises(SettingError, match=message):
        searching().hyperparameter_search(space, backend="wandb", **options)
    assert not server.store.sweeps


def test_a_sweep_needs_a_server_and_runs(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(SettingError, match=r"WANDB_MODE='offline' .*optuna"):
        searching().hyperparameter_search(grid, backend="wandb")
    with pytest.raises(SettingError, match=r"report_to=.*the trials of a sweep are W&B runs"):
        searching(report_to="none").hyperparameter_search(grid, backend="wandb")
