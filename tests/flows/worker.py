"""A training of ``TFTrainer`` on several replicas or by several workers: the same command again goes on.

    python worker.py MODEL OUTPUT_DIR [--replicas N] [--pause SECONDS] [--set NAME=VALUE ...]

With ``TF_CONFIG`` it is one of several workers, else it has ``--replicas`` devices. A batch has 12 samples in all.
Prints a line of JSON at the end: the SHA-256 of the weights and of the optimizer's variables, the sums of the weights,
and what the trainer returned.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import tensorflow as tf
import tiny
from helpers import samples
from resumable import Reporter, digest

from tf_hfwb import TFTrainer, TFTrainingArguments

BATCH_SIZE = 12


def bert(dropout):
    return tiny.bert(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)


MODELS = {
    "bert": (bert, tiny.classified),
    "tf_keras": (
        lambda dropout: tiny.functional("tf_keras", dropout=dropout),
        lambda number: tiny.named(samples(number)),
    ),
    "keras": (lambda dropout: tiny.functional("keras", dropout=dropout), lambda number: tiny.named(samples(number))),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("output_dir")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--pause", type=float, default=None)
    parser.add_argument("--set", nargs="*", default=[])
    arguments = parser.parse_args(argv)
    given = {name: json.loads(value) for name, _, value in (one.partition("=") for one in arguments.set)}
    if arguments.replicas > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * arguments.replicas)
    args = TFTrainingArguments(
        arguments.output_dir,
        **{
            "num_train_epochs": 3,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_steps": 4,
            "eval_strategy": "epoch",
            "full_determinism": True,
            "disable_tqdm": True,
            **given,
        },
    )
    if arguments.replicas > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(arguments.replicas)])
    else:
        strategy = args.strategy
    replicas = strategy.num_replicas_in_sync
    args.per_device_train_batch_size = args.per_device_eval_batch_size = BATCH_SIZE // replicas
    build, data = MODELS[arguments.model]
    with strategy.scope():
        model = build(arguments.dropout)
    callbacks = [] if arguments.pause is None else [Reporter(arguments.pause)]
    trainer = TFTrainer(
        model,
        args,
        train_dataset=data(arguments.samples),
        eval_dataset=data(31),
        processing_class=tiny.tokenizer() if arguments.model == "bert" else None,
        callbacks=callbacks,
    )
    output = trainer.train(resume_from_checkpoint=True)
    result = {
        "replicas": replicas,
        "sha256": digest(model),
        "step": output.global_step,
        "loss": output.training_loss,
        "evaluation": trainer.evaluate(),
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
