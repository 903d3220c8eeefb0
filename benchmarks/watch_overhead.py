"""What watching adds to a step of ``fit``: gradients and weights of every layer, at intervals of 100 and 10 steps.

    python benchmarks/watch_overhead.py              # some minutes on two quiet cores
    python benchmarks/watch_overhead.py --repeats 3 --steps 100 --layers 1

One process, offline runs. Every variant trains a model of its own, built alike; the variants take turns, and each
number is the median over the turns of the ratio to the bare fit of the same turn. Rows:

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

from tf_hfwb import WandbWatch

BATCH, LENGTH, WIDTH, WORDS = 8, 32, 128, 1000
NEVER = 10**9
VARIANTS = {"bare": None, "bare again": None, "no row in the fit": NEVER, "all, every 100": 100, "all, every 10": 10}


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
    return tf.data.Dataset.from_tensors(({"input_ids": tokens}, labels)).repeat(steps)


def fit(model, interval: int | None, dataset) -> tuple[float, float]:
    """Seconds of a fit, and of CPU."""
    callbacks = [] if interval is None else [WandbWatch("all", log_freq=interval)]
    gc.collect()
    gc.freeze()  # Else a collection of all that TensorFlow has made falls into some fits, and not into others.
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(dataset, callbacks=callbacks, shuffle=False, verbose=0)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, build, arguments: argparse.Namespace) -> None:
    models = {variant: build(arguments.layers) for variant in VARIANTS}
    dataset = data(arguments.steps)
    taken: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
    for repeat in range(-1, arguments.repeats):  # The first turn traces the graphs and does not count.
        order = list(VARIANTS)
        shift = repeat % len(order)
        for variant in order[shift:] + order[:shift]:
            with wandb.init(project="benchmark", reinit="finish_previous"):
                result = fit(models[variant], VARIANTS[variant], dataset)
            if repeat >= 0:
                taken[variant].append(result)
    bare = taken["bare"]
    step = statistics.median(wall for wall, _ in bare) / arguments.steps
    number = len(models["bare"].trainable_variables)
    print(f"\n{name}, {number} variables: {1e3 * step:.1f} ms a step, {arguments.repeats} x {arguments.steps} steps")
    print(f"{'':26}{'wall':>8}{'cpu':>8}")
    for variant in list(VARIANTS)[1:]:
        pairs = list(zip(taken[variant], bare, strict=True))
        ratios = [statistics.median(ours[kind] / none[kind] for ours, none in pairs) for kind in (0, 1)]
        print(f"{variant:26}{ratios[0]:8.3f}{ratios[1]:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="steps of one fit")
    parser.add_argument("--repeats", type=int, default=9, help="fits of each variant")
    parser.add_argument("--layers", type=int, default=4, help="layers of each model")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, wandb {wandb.__version__}, {os.cpu_count()} cores")
    measure("transformers' BERT on tf_keras", transformers_model, arguments)
    measure("a transformer on Keras 3", keras3_model, arguments)


if __name__ == "__main__":
    main()
