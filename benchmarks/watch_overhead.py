"""What watching adds to a step of ``fit``: gradients and weights of every layer, at intervals of 100 and 10 steps.

    python benchmarks/watch_overhead.py              # a quarter of an hour on two quiet cores
    python benchmarks/watch_overhead.py --repeats 1 --steps 300 --layers 1

One process, one offline run. A bare fit and a watched one train models that were built alike, at the same time, and
take turns of 100 steps: while one has its turn, the other waits. So what the machine does meanwhile happens to both.
A row falls into the middle of a turn, with what threads do about it. Each number is the median over the repeats, of new
models each, of the ratio of the watched fit to the bare one. Rows:

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

BATCH, LENGTH, WIDTH, WORDS = 8, 32, 128, 1000
TURN = 100  # Steps.
NEVER = 10**9
VARIANTS = {"bare again": None, "no row in the fit": NEVER, "all, every 100": 100, "all, every 10": 10}


def transformers_model(layers: int):
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
    )
    model = transformers.TFBertForSequenceClassification(config)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-4), loss=loss)
    return model


def keras3_model(layers: int):
    tokens = keras.Input((LENGTH,), dtype="int32", name="input_ids")
    x = keras.layers.Embedding(WORDS, WIDTH)(tokens)
    for _ in range(layers):
        x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, WIDTH // 2, dropout=0.1)(x, x))
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(WIDTH)(keras.layers.Dense(2 * WIDTH, "gelu")(x)))
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x))
    model = keras.Model(tokens, x)
    model.compile(keras.optimizers.Adam(1e-4), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


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


def ratios(keras_of_model, build, layers: int, dataset, interval: int | None, is_first: bool) -> tuple[Any, float]:
    """The ratios of a watched fit to a bare one, of seconds and of CPU; and the bare one's seconds."""
    turns = Turns()
    watched_place = 0 if is_first else 1

    def fit(place: int) -> None:
        watch = [WandbWatch("all", log_freq=interval)] if interval is not None and place == watched_place else []
        callbacks = [*watch, turns.callback(keras_of_model, place)]
        models[place].fit(dataset, callbacks=callbacks, shuffle=False, verbose=0)
        turns.end(place)

    models = [build(layers), build(layers)]
    threads = [threading.Thread(target=fit, args=(place,)) for place in (0, 1)]
    gc.collect()
    gc.freeze()  # Else a collection of all that TensorFlow has made falls into some turns, and not into others.
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watched, bare = turns.spent[watched_place], turns.spent[1 - watched_place]
    return watched / bare, float(bare[0])


def measure(name: str, keras_of_model, build, arguments: argparse.Namespace) -> None:
    dataset = data(arguments.steps)
    taken: dict[str, list[Any]] = {variant: [] for variant in VARIANTS}
    steps: list[float] = []
    for repeat in range(arguments.repeats):
        for variant, interval in VARIANTS.items():
            ratio, seconds = ratios(keras_of_model, build, arguments.layers, dataset, interval, repeat % 2 == 0)
            taken[variant].append(ratio)
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
    parser.add_argument("--repeats", type=int, default=7, help="pairs of fits of each variant")
    parser.add_argument("--layers", type=int, default=4, help="layers of each model")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, wandb {wandb.__version__}, {os.cpu_count()} cores")
    with wandb.init(project="benchmark"):
        measure("transformers' BERT on tf_keras", tf_keras, transformers_model, arguments)
        measure("a transformer on Keras 3", keras, keras3_model, arguments)


if __name__ == "__main__":
    main()
