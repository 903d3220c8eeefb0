"""What a bar adds to a step of a training: the trainer's own and Keras's, on a terminal, over no bar at all.

    python benchmarks/progress_bar.py                # a minute on two quiet cores
    python benchmarks/progress_bar.py --repeats 5

The trainings are interleaved, and each number is a median over the second epochs of all of them; ``±`` is its standard
error. The steps are small ones, so that the bar is much of them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import threading
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tf_hfwb import TFTrainer, TFTrainingArguments

BATCH = 8


def trainer_of(package: str, steps: int, *, by: str) -> TFTrainer:
    """A trainer of a small model, with a bar by ``"nobody"``, ``"keras"`` or ``"trainer"``."""
    keras = importlib.import_module(package)
    random = np.random.default_rng(0)
    x = random.normal(size=(steps * BATCH, 16)).astype("float32")
    model = keras.Sequential([keras.layers.Input((16,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(2)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    args = TFTrainingArguments(
        num_train_epochs=2, save_strategy="no", report_to="none", disable_tqdm=by != "trainer", logging_steps=100
    )
    callbacks = [second_epoch(keras), *([keras_bar(keras)] if by == "keras" else [])]
    return TFTrainer(model, args, train_dataset=(x, (x[:, 0] > 0).astype("int64")), callbacks=callbacks)


def second_epoch(keras: Any) -> Any:
    """A callback that has the ``seconds`` of the second epoch."""

    class SecondEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.began

    return SecondEpoch()


def keras_bar(keras: Any) -> Any:
    """Keras's own bar, as its ``fit`` makes it with ``verbose=1``."""

    class Bar(keras.callbacks.ProgbarLogger):
        def set_params(self, params: dict[str, Any]) -> None:
            super().set_params({**params, "verbose": 1})

    return Bar()


def measure(package: str, steps: int, repeats: int) -> dict[str, list[float]]:
    """Microseconds a step, by who shows the bar."""
    trainers = {by: trainer_of(package, steps, by=by) for by in ("nobody", "trainer", "keras", "nobody again")}
    for trainer in trainers.values():
        trainer.train()  # Traces the graph.
    found: dict[str, list[float]] = {by: [] for by in trainers}
    for repeat in range(repeats):
        for by in [*trainers][:: 1 if repeat % 2 else -1]:
            trainers[by].train()
            found[by].append(1e6 * trainers[by].callbacks[0].seconds / steps)
    return found


def begin_terminal() -> Any:
    """Let standard output be a terminal that nobody looks at; returns what it was before."""
    leader, follower = os.openpty()

    def read() -> None:
        while os.read(leader, 65536):
            pass

    threading.Thread(target=read, daemon=True).start()
    before, sys.stdout = sys.stdout, os.fdopen(follower, "w")
    return before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="steps of an epoch")
    parser.add_argument("--repeats", type=int, default=15, help="trainings of each variant")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    out = begin_terminal()
    for package in ("tf_keras", "keras"):
        found = measure(package, arguments.steps, arguments.repeats)
        bare = statistics.median(found["nobody"])
        print(f"{package}: {bare:.0f} µs a step without a bar", file=out)
        for by, times in found.items():
            ratios = [one / other for one, other in zip(times, found["nobody"], strict=True)]
            error = 1.25 * statistics.stdev(ratios) / len(ratios) ** 0.5
            print(f"  bar by {by:12} {statistics.median(ratios):6.3f} ± {error:.3f} times that", file=out)


if __name__ == "__main__":
    main()
