"""Prints the memory in MiB before each trial of a search: ``python search_memory.py KERAS N_TRIALS``."""

from __future__ import annotations

import importlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tf_hfwb import TFTrainer, TFTrainingArguments

kind, n_trials = sys.argv[1:]


def make():
    """A model of 8 million parameters: 32 MiB, and with gradients and the optimizer's slots 128 MiB in a training."""
    keras = importlib.import_module(kind)
    model = keras.Sequential(
        [keras.layers.Input((1000,)), *(keras.layers.Dense(2000) for _ in range(2)), keras.layers.Dense(1000)]
    )
    model.compile(loss="mse")
    return model


def space(trial):
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    sys.stdout.write(f"MiB {pages * os.sysconf('SC_PAGE_SIZE') / 2**20:.0f}\n")
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-5)}


data = np.ones((8, 1000), "float32"), np.ones((8, 1000), "float32")
options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
args = TFTrainingArguments("out", max_steps=2, **options)
TFTrainer(args=args, model_init=make, train_dataset=data, eval_dataset=data).hyperparameter_search(
    space, n_trials=int(n_trials)
)
