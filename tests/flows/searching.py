"""A search as a user writes it, for the tests that kill it: the same command again continues.

    python searching.py KERAS OUTPUT_DIR N_TRIALS

Prints ``step`` before each step, and ``found`` with the best trial at the end.
"""

from __future__ import annotations

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import optuna
import transformers
from helpers import classifier, samples

from tf_hfwb import TFTrainer, TFTrainingArguments

kind, directory, n_trials = sys.argv[1:]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Steps(transformers.TrainerCallback):
    def on_step_begin(self, args, state, control, **more):
        say(f"step {args.output_dir} {state.global_step}")


def space(trial):
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 0, 0.1),
        "seed": trial.suggest_int("seed", 1, 40),
    }


args = TFTrainingArguments(
    directory,
    max_steps=8,
    per_device_train_batch_size=4,
    eval_strategy="steps",
    eval_steps=2,
    save_strategy="steps",
    save_steps=2,
    save_total_limit=1,
    full_determinism=True,
    report_to=os.environ.get("REPORT_TO", "none"),
    disable_tqdm=True,
)
trainer = TFTrainer(
    args=args,
    model_init=lambda: classifier(kind),
    train_dataset=samples(32),
    eval_dataset=samples(16, seed=1),
    callbacks=[Steps],
)
best = trainer.hyperparameter_search(
    space,
    lambda metrics: metrics["eval_loss"],
    n_trials=int(n_trials),
    # Some trials are pruned; of which, depends on those that have ended, in their order.
    pruner=optuna.pruners.MedianPruner(n_startup_trials=1),
)
say(f"found {best.run_id} {best.objective}")
