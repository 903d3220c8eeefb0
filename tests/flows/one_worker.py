"""A training of ``TFTrainer`` on several replicas or by several workers: the same command again goes on.

    python one_worker.py MODEL OUTPUT_DIR [--replicas N] [--set NAME=VALUE ...]

With ``TF_CONFIG`` it is one of several workers, else it has ``--replicas`` devices. A batch has 12 samples in all, so
the last one of an epoch leaves some replicas with fewer samples than others, or with none. Prints a line of JSON at the
end: the SHA-256 of the weights and of the optimizer's variables, and what the trainer returned.
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

import numpy as np
import tensorflow as tf
import tiny
from datasets.distributed import split_dataset_by_node
from helpers import samples
from resumable import Reporter, SignalAt, digest

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable

BATCH_SIZE = 12


def bert(dropout: float):
    return tiny.bert(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)


def plain(kind: str):
    return lambda dropout: tiny.functional(kind, dropout=dropout)


def with_batch_norm(dropout: float):
    """Its statistics are means over replicas, which all workers must read together."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    x = tf_keras.Input((4,), name="x")
    hidden = tf_keras.layers.BatchNormalization()(tf_keras.layers.Dense(8)(x))
    model = tf_keras.Model({"x": x}, tf_keras.layers.Dense(3)(tf_keras.layers.Dropout(dropout)(hidden)))
    model.compile(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def columns(number: int):
    return tiny.named(samples(number))


def stream(number: int):
    return tiny.classified(number).to_iterable_dataset(num_shards=3)


def share_of_stream(number: int):
    """As scripts for PyTorch split a stream among workers, which here take their shares by themselves."""
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    return split_dataset_by_node(stream(number), rank=index, world_size=2)


MODELS = {
    "bert": (bert, tiny.classified),
    "stream": (bert, stream),
    "share_of_stream": (bert, share_of_stream),
    "gpt2": (tiny.gpt2, tiny.next_words),
    "tf_keras": (plain("tf_keras"), columns),
    "keras": (plain("keras"), columns),
    "batch_norm": (with_batch_norm, columns),
}


def strategy_for(replicas: int, args: TFTrainingArguments) -> tf.distribute.Strategy:
    """Of so many devices, passed by the user; else that of the arguments, which knows ``TF_CONFIG``."""
    if replicas == 1:
        return args.strategy
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    return tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(replicas)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("output_dir")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--pause", type=float, default=None)
    parser.add_argument("--stop_at", type=int, default=None)
    parser.add_argument("--late", type=float, default=0.0)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--save_model", action="store_true")
    parser.add_argument("--set", nargs="*", default=[])
    arguments = parser.parse_args(argv)
    given = {name: json.loads(value) for name, _, value in (one.partition("=") for one in arguments.set)}
    options = {
        "num_train_epochs": 3,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_steps": 4,
        "eval_strategy": "epoch",
        "full_determinism": True,
        "disable_tqdm": True,
    }
    args = TFTrainingArguments(arguments.output_dir, **{**options, **given})
    strategy = strategy_for(arguments.replicas, args)
    size = arguments.batch_size // strategy.num_replicas_in_sync
    args.per_device_train_batch_size = args.per_device_eval_batch_size = size
    build, data = MODELS[arguments.model]
    with strategy.scope():
        model = build(arguments.dropout)
    callbacks = [] if arguments.pause is None else [Reporter(arguments.pause)]
    if arguments.stop_at is not None:
        callbacks.append(SignalAt("step", arguments.stop_at, signal.SIGTERM))
    if arguments.table:
        callbacks.append(WandbEvalTable(data(6)))
    time.sleep(arguments.late)
    trainer = TFTrainer(
        model,
        args,
        train_dataset=data(arguments.samples),
        eval_dataset=data(31),
        processing_class=tiny.tokenizer() if arguments.model in ("bert", "gpt2", "stream", "share_of_stream") else None,
        callbacks=callbacks,
    )
    output = trainer.train(resume_from_checkpoint=True)
    if arguments.save_model:
        trainer.save_model("model")
    result = {
        "strategy": type(strategy).__name__,
        "replicas": strategy.num_replicas_in_sync,
        "sha256": digest(model),
        "trainable": hashlib.sha256(
            b"".join(np.asarray(one).tobytes() for one in model.trainable_variables)
        ).hexdigest(),
        "step": output.global_step,
        "loss": output.training_loss,
        "state": len(trainer.state.log_history),
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
