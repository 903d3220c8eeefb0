"""Agents of W&B's sweeps, which run a script or a function for each set of parameters."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
import wandb

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
