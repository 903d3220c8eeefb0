"""What logging adds to a step of ``fit``: our logger and W&B's own, at intervals of 1, 10 and 100 steps.

    python benchmarks/logging_overhead.py            # about 6 minutes on two quiet cores
    python benchmarks/logging_overhead.py --repeats 3 --steps 100

One process, offline runs. Every variant trains a model of its own, built alike; the variants take turns, and each
number is a median over the turns. Columns:

* ``hooks``: microseconds per step that the training thread spends in callback hooks, over a bare fit;
* ``wall``: microseconds per step of the whole fit over the bare fit of the same turn, which includes what the logger
  adds to the training graph and what its worker thread takes away;
* ``cpu``: CPU time of the process, as a ratio to the bare fit of the same turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import keras
import numpy as np
import tensorflow as tf
import tf_keras
import transformers
import wandb
from wandb.integration.keras import WandbMetricsLogger as WandbsOwn

from tf_hfwb import WandbMetricsLogger

INTERVALS = (1, 10, 100)
BATCH, LENGTH, WIDTH, WORDS = 8, 32, 64, 1000


class WandbsOnTFKeras(WandbsOwn):
    """W&B's logger derives from Keras 3's callback; tf_keras asks for these, without which it raises."""

    _supports_tf_logs = False

    def _implements_train_batch_hooks(self):
        return True

    def _implements_test_batch_hooks(self):
        return False

    def _implements_predict_batch_hooks(self):
        return False


def transformers_model():
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * WIDTH
    )
    model = transformers.TFBertForSequenceClassification(config)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-4), loss=loss, metrics=["accuracy"])
    return model


def keras3_model():
    tokens = keras.Input((LENGTH,), dtype="int32", name="input_ids")
    x = keras.layers.Embedding(WORDS, WIDTH)(tokens)
    for _ in range(2):
        x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, WIDTH // 2, dropout=0.1)(x, x))
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(WIDTH)(keras.layers.Dense(2 * WIDTH, "gelu")(x)))
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x))
    model = keras.Model(tokens, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss=loss, metrics=["accuracy"])
    return model


def data(steps: int) -> tf.data.Dataset:
    random = np.random.default_rng(0)
    tokens = random.integers(0, WORDS, (BATCH, LENGTH)).astype("int32")
    labels = random.integers(0, 2, (BATCH,)).astype("int64")
    return tf.data.Dataset.from_tensors(({"input_ids": tokens}, labels)).repeat(steps)


def timed(callback_list):
    """A CallbackList of either Keras that adds up the time spent in its batch hooks."""

    class Timed(callback_list):
        seconds = 0.0

        def on_train_batch_begin(self, *args, **kwargs):
            begin = time.perf_counter()
            super().on_train_batch_begin(*args, **kwargs)
            self.seconds += time.perf_counter() - begin

        def on_train_batch_end(self, *args, **kwargs):
            begin = time.perf_counter()
            super().on_train_batch_end(*args, **kwargs)
            self.seconds += time.perf_counter() - begin

    return Timed


def fit(model, callback_list, callback, dataset, steps: int) -> tuple[float, float, float]:
    """Seconds per step: in the hooks, in all, and of CPU."""
    callbacks = [] if callback is None else [callback]
    hooks = timed(callback_list)(callbacks, add_history=True, model=model, epochs=1, steps=steps, verbose=0)
    # The first steps open the run and trace the graph; they are not the matter here.
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(dataset, epochs=1, callbacks=hooks, verbose=0)
    return hooks.seconds / steps, (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps


def measure(name, build, callback_list, theirs, steps: int, repeats: int) -> None:
    variants = {"bare": None}
    for interval in INTERVALS:
        variants[f"tf_hfwb, every {interval}"] = lambda interval=interval: WandbMetricsLogger(interval)
        variants[f"W&B's own, every {interval}"] = lambda interval=interval: theirs(interval)
    models = {variant: build() for variant in variants}
    dataset = data(steps)
    rows = {variant: [] for variant in variants}
    for repeat in range(-1, repeats):
        order = list(variants)
        shift = repeat % len(order)
        for variant in order[shift:] + order[:shift]:
            make = variants[variant]
            with wandb.init(project="benchmark", reinit="finish_previous"):
                result = fit(models[variant], callback_list, make() if make else None, dataset, steps)
            if repeat >= 0:
                rows[variant].append(result)
    bare = rows["bare"]
    print(f"\n{name}: {1e3 * statistics.median(wall for _, wall, _ in bare):.1f} ms a step, {repeats} x {steps} steps")
    print(f"{'':26}{'hooks':>10}{'wall':>10}{'cpu':>8}")
    print(f"{'bare fit':26}{1e6 * statistics.median(hook for hook, _, _ in bare):8.1f} µs{'':10}{'1.00':>8}")
    for variant in list(variants)[1:]:
        pairs = list(zip(rows[variant], bare, strict=True))
        hooks = 1e6 * statistics.median(ours[0] - none[0] for ours, none in pairs)
        wall = 1e6 * statistics.median(ours[1] - none[1] for ours, none in pairs)
        cpu = statistics.median(ours[2] / none[2] for ours, none in pairs)
        print(f"{variant:26}{hooks:+8.1f} µs{wall:+8.0f} µs{cpu:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="steps of one fit")
    parser.add_argument("--repeats", type=int, default=9, help="fits of each variant")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, wandb {wandb.__version__}, {os.cpu_count()} cores")
    from keras.src.callbacks.callback_list import CallbackList as Keras3List
    from tf_keras.src.callbacks import CallbackList as TFKerasList

    run = (arguments.steps, arguments.repeats)
    measure("transformers' BERT on tf_keras", transformers_model, TFKerasList, WandbsOnTFKeras, *run)
    measure("a transformer on Keras 3", keras3_model, Keras3List, WandbsOwn, *run)


if __name__ == "__main__":
    main()
