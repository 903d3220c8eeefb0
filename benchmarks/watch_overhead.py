"""What watching adds to a step of ``fit``: gradients and weights of every layer, in a row at every 100th step.

    python benchmarks/watch_overhead.py              # a quarter of an hour on two quiet cores
    python benchmarks/watch_overhead.py --builds 1 --rounds 6 --layers 1

One process, one offline run. Two models that were built alike differ by some percent, by where their memory lies, and
a machine's speed drifts within seconds. So one model is trained in one fit, in which train functions take turns of 100
steps: one that was traced before anybody watched, another such one, and the watched one, for a turn without a row and
for a turn with a row in its middle, so that what threads do about the row falls into the turn as well. Each turn is
compared with the bare one of its round. Each number is the median over all rounds of a few models, ``±`` its standard
error. Rows:

* ``bare again``: shows the noise;
* ``watched, no row``: what the steps that log nothing cost;
* ``watched, a row``: 100 steps of which one is logged, as with ``WandbWatch("all", log_freq=100)``.

In bare turns too our Python code counts the steps, which costs a microsecond for each.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import keras
import numpy as np
import tensorflow as tf
import tf_keras
import wandb
from trained import batches, bert, compiled, keras3_transformer

from tf_hfwb import WandbWatch

TURN = 100  # Steps.
BARE, AGAIN, NO_ROW, A_ROW = "bare", "bare again", "watched, no row", "watched, a row"
# The row is due in the last turn of each round; the others change places.
ORDERS = [(*others, A_ROW) for others in itertools.permutations((BARE, AGAIN, NO_ROW))]
WARM_UP = 1  # Rounds: the graph is traced, and the first row takes longer.
Turn = tuple[float, float]  # Seconds, and seconds of CPU.


def bare_function(model):
    """A train function of its own, traced while nobody watches."""
    model.make_train_function(force=True)
    model.fit(batches(2), shuffle=False, verbose=0)
    return model.train_function


def takes_turns(keras_of_model, bare: Sequence, rounds: int):
    """A callback that lets the train functions take turns; its ``rounds`` has what they took."""

    class TakesTurns(keras_of_model.callbacks.Callback):
        def on_train_begin(self, logs=None):
            watched, watch_function = self.model.train_function, self.model.train_step.recorder.watch_function
            first, second = (watch_function(function) for function in bare)
            self._functions = {BARE: first, AGAIN: second, NO_ROW: watched, A_ROW: watched}
            self._turns = [turn for place in range(rounds) for turn in ORDERS[place % len(ORDERS)]]
            self.rounds: list[dict[str, Turn]] = []

        def on_train_batch_begin(self, batch, logs=None):
            if batch % TURN:
                return
            now = time.perf_counter(), time.process_time()
            place = batch // TURN
            if place:
                if place % len(self._functions) == 1:
                    self.rounds.append({})
                begin, begin_cpu = self._began
                self.rounds[-1][self._turns[place - 1]] = now[0] - begin, now[1] - begin_cpu
            if place < len(self._turns):
                self.model.train_function = self._functions[self._turns[place]]
            self._began = time.perf_counter(), time.process_time()

    return TakesTurns()


def rounds_of(keras_of_model, model, rounds: int) -> list[dict[str, Turn]]:
    """What the turns of each round took, in one fit."""
    bare = [bare_function(model) for _ in range(2)]
    turns = takes_turns(keras_of_model, bare, WARM_UP + rounds)
    steps = TURN * len(ORDERS[0])
    # Half a turn ahead, the step of the row comes half a turn before the end of the round.
    watch = WandbWatch("all", log_freq=steps, initial_global_step=TURN // 2)
    gc.collect()
    gc.freeze()  # Else a collection of all that TensorFlow has made falls into some turns, and not into others.
    model.fit(batches(steps * (WARM_UP + rounds) + 1), callbacks=[watch, turns], shuffle=False, verbose=0)
    return turns.rounds[WARM_UP:]


def measure(name: str, keras_of_model, build, arguments: argparse.Namespace) -> None:
    found: list[dict[str, Turn]] = []
    for _ in range(arguments.builds):
        model = compiled(build(arguments.layers, arguments.width), 1e-5)
        found += rounds_of(keras_of_model, model, arguments.rounds)
    step = 1e3 * statistics.median(turns[BARE][0] for turns in found) / TURN
    print(f"\n{name}: {step:.1f} ms a step, {arguments.builds} x {arguments.rounds} rounds of turns of {TURN} steps")
    print(f"{'':26}{'wall':>15}{'cpu':>8}")
    for variant in (AGAIN, NO_ROW, A_ROW):
        walls, cpus = zip(*(np.divide(turns[variant], turns[BARE]) for turns in found), strict=True)
        error = 1.25 * statistics.stdev(walls) / len(walls) ** 0.5
        print(f"{variant:26}{statistics.median(walls):8.3f} ±{error:.3f}{statistics.median(cpus):8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--builds", type=int, default=2, help="how often the models are built")
    parser.add_argument("--rounds", type=int, default=24, help="rounds of turns with each model")
    parser.add_argument("--layers", type=int, default=4, help="layers of each model")
    parser.add_argument("--width", type=int, default=128, help="numbers for each token in each model")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, wandb {wandb.__version__}, {os.cpu_count()} cores")
    with wandb.init(project="benchmark"):
        measure("transformers' BERT on tf_keras", tf_keras, bert, arguments)
        measure("a transformer on Keras 3", keras, keras3_transformer, arguments)


if __name__ == "__main__":
    main()
