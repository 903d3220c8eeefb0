"""A training as a user writes it, for the tests that interrupt it: the same command again goes on.

    python resumable.py MODEL OUTPUT_DIR [--steps_per_execution K] [--accumulate N] [--mixed] [--stop_at NUMBER]

Prints a line of JSON at the end: the SHA-256 of all weights and optimizer variables, and the last epoch's logs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import keras
import numpy as np
import tensorflow as tf
import tf_keras
import tiny

from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, restore, training_batches
from tf_hfwb.data import evaluation_batches
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.step_policies import EverySteps, Once


class SignalAt(StepCallback):
    """What a scheduler does to a job, at a known step, evaluation or epoch (each counted from 1 in this process)."""

    def __init__(self, when: str, count: int, number: int) -> None:
        super().__init__(Once(count if when == "step" else 0))
        self._when = when
        self._left = count
        self._number = number

    def on_due_step_end(self, logs) -> None:
        if self._when == "step":
            self._send()

    def on_epoch_begin(self, epoch, logs=None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._count("epoch_begin")

    def on_epoch_end(self, epoch, logs=None) -> None:
        super().on_epoch_end(epoch, logs)
        self._count("epoch_end")

    def on_test_begin(self, logs=None) -> None:
        self._count("evaluation")

    def _count(self, event: str) -> None:
        if event == self._when:
            self._left -= 1
            if self._left == 0:
                self._send()

    def _send(self) -> None:
        sys.stdout.write(json.dumps({"signal": time.monotonic()}) + "\n")
        sys.stdout.flush()
        os.kill(os.getpid(), self._number)


class Reporter(StepCallback):
    """Prints each step, and takes its time for it."""

    def __init__(self, pause: float) -> None:
        super().__init__(EverySteps(1))
        self._pause = pause

    def on_due_step_end(self, logs) -> None:
        os.write(1, f"step {self._clock.step}\n".encode())
        time.sleep(self._pause)


def keras3_transformer():
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="input_ids")
    x = keras.layers.Embedding(tiny.VOCAB_SIZE, 16)(tokens)
    attended = keras.layers.MultiHeadAttention(2, 8, dropout=0.1)(x, x)
    x = keras.layers.LayerNormalization()(x + keras.layers.Dropout(0.1)(attended))
    x = keras.layers.Dropout(0.1)(keras.layers.GlobalAveragePooling1D()(x))
    return keras.Model({"input_ids": tokens}, keras.layers.Dense(3)(x))


MODELS = {
    "bert": (lambda: tiny.bert(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1), tiny.classified),
    "gpt2": (lambda: tiny.gpt2(0.1), tiny.next_words),
    "t5": (lambda: tiny.t5(0.1), tiny.answered),
    "vit": (lambda: tiny.vit(0.1), tiny.pictures),
    "keras3": (keras3_transformer, lambda number: tiny.classified(number).remove_columns("attention_mask")),
}


def compiled(model, arguments):
    if arguments.model == "keras3":
        optimizer = keras.optimizers.AdamW(1e-2, use_ema=True, gradient_accumulation_steps=arguments.accumulate)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        options = {"loss": loss, "metrics": ["accuracy"]}
    else:
        schedule = tf_keras.optimizers.schedules.PolynomialDecay(1e-2, 100)
        optimizer = tf_keras.optimizers.AdamW(schedule, weight_decay=0.01)
        if arguments.model == "gpt2":
            optimizer = tf_keras.optimizers.legacy.Adam(1e-2)
        # Transformers' loss masks labels of -100; a metric beside it has accumulators of its own.
        options = {"metrics": ["accuracy"]} if arguments.model in ("bert", "vit") else {}
    model.compile(optimizer, steps_per_execution=arguments.steps_per_execution, **options)
    return model


def digest(model) -> str:
    sha = hashlib.sha256()
    optimizer = model.optimizer
    variables = optimizer.variables
    for variable in [*model.weights, *(variables() if callable(variables) else variables)]:
        sha.update(np.asarray(variable.numpy()).tobytes())
    return sha.hexdigest()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("output_dir")
    parser.add_argument("--source", default=True, help="an artifact to go on from, instead of the newest checkpoint")
    parser.add_argument("--steps_per_execution", type=int, default=1)
    parser.add_argument("--accumulate", type=int, default=None)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--save_freq", type=int, default=4)
    parser.add_argument("--log_freq", type=int, default=3)
    parser.add_argument("--stop_at", type=int, default=0)
    parser.add_argument("--stop_when", choices=("step", "evaluation", "epoch_begin", "epoch_end"), default="step")
    parser.add_argument("--stop_before_saving", action="store_true")
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--pause", type=float, default=None)
    parser.add_argument("--signal", type=int, default=signal.SIGTERM)
    arguments = parser.parse_args(argv)
    tf.config.experimental.enable_op_determinism()
    keras_of = keras if arguments.model == "keras3" else tf_keras
    keras_of.utils.set_random_seed(1)
    if arguments.mixed:
        keras_of.mixed_precision.set_global_policy("mixed_float16")
    build, data = MODELS[arguments.model]
    model = compiled(build(), arguments)
    position = restore(model, arguments.source, output_dir=arguments.output_dir)
    tokenizer = None if arguments.model == "vit" else tiny.tokenizer()
    options = {"model": model, "processing_class": tokenizer}
    if keras.backend.backend() == "jax":
        options["pad_to_multiple_of"] = 32  # JAX compiles for each length.
    batches = training_batches(data(25), 4, start_step=position.batches, **options)
    callbacks = [
        WandbMetricsLogger(arguments.log_freq),
        WandbModelCheckpoint(arguments.output_dir, save_freq=arguments.save_freq, processing_class=tokenizer),
    ]
    if arguments.stop_at:
        stop = SignalAt(arguments.stop_when, arguments.stop_at, arguments.signal)
        callbacks.insert(1 if arguments.stop_before_saving else 2, stop)
    if arguments.pause is not None:
        callbacks.insert(0, Reporter(arguments.pause))
    held_out = None
    if arguments.validate:
        held_out = evaluation_batches(data(11), 4, **options).dataset
    history = model.fit(
        batches.dataset,
        steps_per_epoch=batches.steps_per_epoch,
        epochs=arguments.epochs,
        validation_data=held_out,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
    logs = {name: float(values[-1]) for name, values in history.history.items() if values}
    sys.stdout.write(json.dumps({"sha256": digest(model), "logs": logs}) + "\n")


if __name__ == "__main__":
    main()
