"""What ``TFTrainer`` adds to a step: rows for ``state.log_history`` and for W&B, and events of transformers' callbacks.

    python benchmarks/trainer_overhead.py            # some ten minutes on two quiet cores
    python benchmarks/trainer_overhead.py --rounds 2 --steps 200

One process, one offline run. In each round every variant trains a new model, built alike, with the bare ``fit`` of
another one beside it; the variants come in another order in each round. The column is what the training thread spends
between two calls of the compiled train function: microseconds per step over the bare fit of the pair, the median of all
rounds with its standard error. ``bare again`` shows the noise. What a step costs that logs nothing is the first
variant's; a row's cost is what the others have beyond it, times their interval.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import wandb
from logging_overhead import SIZES, Gaps
from trained import batches, bert, compiled, keras3_transformer
from transformers import TrainerCallback

from tf_hfwb import TFTrainer, TFTrainingArguments


class OnEpochEnd(TrainerCallback):
    """Hears no event of steps."""

    def on_epoch_end(self, args, state, control, **kwargs):
        """Does nothing."""


class OnStepEnd(TrainerCallback):
    """Hears an event of every step."""

    def on_step_end(self, args, state, control, **kwargs):
        """Does nothing."""


VARIANTS = {
    "bare again": None,
    "no rows": {"logging_strategy": "no"},
    "log_history, every step": {"logging_steps": 1},
    "log_history, every 100": {"logging_steps": 100},
    "and W&B, every step": {"logging_steps": 1, "report_to": "wandb"},
    "and W&B, every 100": {"logging_steps": 100, "report_to": "wandb"},
    "on_epoch_end, no rows": {"logging_strategy": "no", "callbacks": [OnEpochEnd]},
    "on_step_end, no rows": {"logging_strategy": "no", "callbacks": [OnStepEnd]},
}


def gap(build, options, steps: int) -> float:
    """Microseconds per step between two calls of the train function; of a bare fit without options."""
    model = compiled(build(**SIZES), 1e-4, ("accuracy",))
    gaps, dataset = Gaps(model), batches(steps)
    gc.collect()
    gc.freeze()  # Else a collection of all that TensorFlow has made falls into some fits, and not into others.
    if options is None:
        model.fit(dataset, shuffle=False, verbose=0)
    else:
        defaults = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "max_steps": steps}
        arguments = {**defaults, **options}
        callbacks = arguments.pop("callbacks", [])
        args = TFTrainingArguments(tempfile.mkdtemp(), **arguments)
        TFTrainer(model, args, train_dataset=dataset, callbacks=callbacks).train()
    return 1e6 * gaps.seconds / steps


def measure(name: str, build, steps: int, rounds: int) -> None:
    found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    bare: list[float] = []
    for _ in range(rounds):
        for variant in random.sample(list(VARIANTS), len(VARIANTS)):
            bare.append(gap(build, None, steps))
            found[variant].append(gap(build, VARIANTS[variant], steps) - bare[-1])
    print(f"\n{name}: {rounds} rounds of fits of {steps} steps; a bare step {statistics.median(bare):.1f} µs")
    for variant, kept in found.items():
        error = 1.25 * statistics.stdev(kept) / len(kept) ** 0.5
        print(f"{variant:26}{statistics.median(kept):+8.1f} ±{error:4.1f} µs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="steps of one fit")
    parser.add_argument("--rounds", type=int, default=8, help="fits of each variant, 2 or more")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    with wandb.init(project="benchmark"):
        measure("transformers' BERT on tf_keras", bert, arguments.steps, arguments.rounds)
        measure("a transformer on Keras 3", keras3_transformer, arguments.steps, arguments.rounds)


if __name__ == "__main__":
    main()
