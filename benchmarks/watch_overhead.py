"""What watching adds to a step of ``fit``: gradients and weights of every layer, at intervals of 100 and 10 steps.

    python benchmarks/watch_overhead.py              # half an hour on two quiet cores
    python benchmarks/watch_overhead.py --repeats 1 --steps 300 --layers 1

One process, one offline run. A bare fit and a watched one train models that were built alike, at the same time, and
take turns of 100 steps: while one has its turn, the other waits. So what the machine does meanwhile happens to both.
A row falls into the middle of a turn, with what threads do about it. Two models that were built alike differ by some
percent, by where their memory lies; so they are trained again with the other one watched, and the geometric mean of
both ratios of the watched fit to the bare one is a repeat's result. Each number is the median over the repeats, of new
models each. Rows:

* ``bare again``: a second bare model, which shows the noise;
* ``no row in the fit``: a watched model in a fit that ends before its first row: what the steps that log nothing cost;
* ``all, every n``: gradients and weights every n steps.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import threading
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import keras
import numpy as np
import tensorflow as tf
import tf_keras
import transformers
import wandb

from tf_hfwb import WandbWatch

BATCH, LENGTH, WORDS = 8, 32, 1000
TURN = 100  # Steps.
NEVER = 10**9
VARIANTS = {"bare again": None, "no row in the fit": NEVER, "all, every 100": 100, "all, every 10": 10}


def transformers_model(layers: int, width: int):
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
    )
    return transformers.TFBertForSequenceClassification(config)


def keras3_model(layers: int, width: int):
    tokens = keras.Input((LENGTH,), dtype="int32", name="input_ids")
    x = keras.layers.Embedding(WORDS, width)(tokens)
    for _ in range(layers):
        x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, width // 2, dropout=0.1)(x, x))
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(width)(keras.layers.Dense(2 * width, "gelu")(x)))
    return keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))


def data(steps: int) -> tf.data.Dataset:
    random = np.random.default_rng(0)
    tokens = random.integers(0, WORDS, (BATCH, LENGTH)).astype("int32")
    labels = random.integers(0, 2, (BATCH,)).astype("int64")
    options = tf.data.Options()
    options.autotune.enabled = False  # Or some fits end late, as they wait for the thread that tunes.
    return tf.data.Dataset.from_tensors(({"input_ids": tokens}, labels)).repeat(steps).with_options(options)


class Turns:
    """Lets one of two fits train at a time, and adds up what each one's turns take."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._whose, self._ended = 0, set()
        self.spent = [np.zeros(2), np.zeros(2)]  # Seconds, and seconds of CPU.

    def callback(self, keras_of_model, place: int):
        turns = self

        class TakesTurns(keras_of_model.callbacks.Callback):
            def on_train_begin(self, logs=None):
                turns.wait_for(place)

            def on_train_batch_begin(self, batch, logs=None):
                if batch % TURN != TURN // 2:
                    return
                now = np.array([time.perf_counter(), time.process_time()])
                if batch > 2 * TURN:  # Before that the graph is traced, and the first row takes longer.
                    turns.spent[place] += now - self._began
                turns.pass_on(place)
                self._began = np.array([time.perf_counter(), time.process_time()])

        return TakesTurns()

    def wait_for(self, place: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._whose == place or self._ended)

    def pass_on(self, place: int) -> None:
        with self._changed:
            self._whose = 1 - place
            self._changed.notify_all()
        self.wait_for(place)

    def end(self, place: int) -> None:
        with self._changed:
            self._ended.add(place)
            self._changed.notify_all()


def fit_both(keras_of_model, models, dataset, interval: int | None, watched: int) -> tuple[Any, float]:
    """The ratios of the watched fit to the bare one, of seconds and of CPU; and the bare one's seconds."""
    turns = Turns()

    def fit(place: int) -> None:
        watch = [WandbWatch("all", log_freq=interval)] if interval is not None and place == watched else []
        callbacks = [*watch, turns.callback(keras_of_model, place)]
        models[place].fit(dataset, callbacks=callbacks, shuffle=False, verbose=0)
        turns.end(place)

    loss = keras_of_model.losses.SparseCategoricalCrossentropy(from_logits=True)
    for model in models:
        model.compile(keras_of_model.optimizers.Adam(1e-5), loss=loss)
    threads = [threading.Thread(target=fit, args=(place,)) for place in (0, 1)]
    gc.collect()
    gc.freeze()  # Else a collection of all that TensorFlow has made falls into some turns, and not into others.
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return turns.spent[watched] / turns.spent[1 - watched], float(turns.spent[1 - watched][0])


def measure(name: str, keras_of_model, build, arguments: argparse.Namespace) -> None:
    dataset = data(arguments.steps)
    taken: dict[str, list[Any]] = {variant: [] for variant in VARIANTS}
    steps: list[float] = []
    for _ in range(arguments.repeats):
        for variant, interval in VARIANTS.items():
            models = [build(arguments.layers, arguments.width) for _ in range(2)]
            (one, seconds), (other, _) = (
                fit_both(keras_of_model, models, dataset, interval, watched) for watched in (0, 1)
            )
            taken[variant].append(np.sqrt(one * other))
            steps.append(seconds / ((arguments.steps - 1 - 3 * TURN // 2) // TURN * TURN))
    print(f"\n{name}: {1e3 * statistics.median(steps):.1f} ms a step, {arguments.repeats} x {arguments.steps} steps")
    print(f"{'':26}{'wall':>8}{'cpu':>8}{'lowest and highest wall':>26}")
    for variant, found in taken.items():
        wall, cpu = np.median(found, axis=0)
        lowest, highest = min(ratio[0] for ratio in found), max(ratio[0] for ratio in found)
        print(f"{variant:26}{wall:8.3f}{cpu:8.3f}{lowest:18.3f}{highest:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=760, help="steps of one fit")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of fits of each variant")
    parser.add_argument("--layers", type=int, default=4, help="layers of each model")
    parser.add_argument("--width", type=int, default=128, help="numbers for each token in each model")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, wandb {wandb.__version__}, {os.cpu_count()} cores")
    with wandb.init(project="benchmark"):
        measure("transformers' BERT on tf_keras", tf_keras, transformers_model, arguments)
        measure("a transformer on Keras 3", keras, keras3_model, arguments)


if __name__ == "__main__":
    main()
