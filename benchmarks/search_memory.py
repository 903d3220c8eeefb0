"""What a search keeps of its trials in memory: models are to be forgotten.

    python benchmarks/search_memory.py                          # 20 trials of each kind of model: minutes, Linux only
    python benchmarks/search_memory.py --kinds bert --saves     # one kind, with a checkpoint in each trial
    python benchmarks/search_memory.py --trials 3 --small       # only to see that it runs

Each kind is a search with optuna in a process of its own, of trials of four steps with batches of 8 sequences of 32
tokens, of a model of 22 million parameters: 88 MiB of weights, and 350 MiB with gradients and the optimizer's slots.
Columns: the resident memory in MiB after the 2nd, the 10th and the last trial, what the last one has more than the 2nd,
the same in models (of 88 MiB), and the seconds of a trial. Where the allocator keeps what was freed, the memory
varies by about a model's gradients; what is held grows from trial to trial.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

KINDS = ("bert", "hub", "keras", "tf_keras")
LENGTH, CLASSES, MODEL = 32, 2, 88


def sizes(small: bool) -> dict[str, int]:
    """Of the model: layers, width and vocabulary."""
    return {"layers": 1, "width": 24, "vocabulary": 500} if small else {"layers": 6, "width": 384, "vocabulary": 30522}


def bert(layers: int, width: int, vocabulary: int) -> Any:
    """transformers' model, of tf_keras."""
    from transformers import BertConfig, TFBertForSequenceClassification

    return TFBertForSequenceClassification(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=12,
            intermediate_size=4 * width,
            num_labels=CLASSES,
        )
    )


def hub(layers: int, width: int, vocabulary: int) -> Any:
    """A task of KerasHub, of Keras 3."""
    import keras
    import keras_hub

    backbone = keras_hub.models.BertBackbone(vocabulary, layers, 12, width, 4 * width, max_sequence_length=LENGTH)
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=CLASSES, preprocessor=None)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def plain(keras: Any, layers: int, width: int, vocabulary: int) -> Any:
    """A functional model."""
    tokens = keras.Input((LENGTH,), dtype="int32", name="token_ids")
    hidden = keras.layers.Embedding(vocabulary, width)(tokens)
    for _ in range(layers):
        hidden = keras.layers.Dense(4 * width, "relu")(hidden)
        hidden = keras.layers.Dense(width)(hidden)
    pooled = keras.layers.GlobalAveragePooling1D()(hidden)
    model = keras.Model(tokens, keras.layers.Dense(CLASSES)(keras.layers.Dense(4 * width)(pooled)))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def model_of(kind: str, small: bool) -> Any:
    """A new model."""
    if kind in ("keras", "tf_keras"):
        return plain(__import__(kind), **sizes(small))
    return {"bert": bert, "hub": hub}[kind](**sizes(small))


def samples(kind: str, vocabulary: int) -> Any:
    """32 of them."""
    import numpy as np

    rng = np.random.default_rng(0)
    tokens, labels = rng.integers(1, vocabulary, (32, LENGTH)).astype("int32"), rng.integers(0, CLASSES, 32)
    if kind == "bert":
        return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}, labels
    if kind == "hub":
        return {"token_ids": tokens, "padding_mask": np.ones_like(tokens), "segment_ids": np.zeros_like(tokens)}, labels
    return tokens, labels


def resident() -> float:
    """The memory of this process in MiB."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def search(kind: str, trials: int, small: bool, saves: bool, report_to: str) -> None:
    """Search, and print what each trial has left."""
    from tf_hfwb import TFTrainer, TFTrainingArguments

    found = []

    def space(trial: Any) -> dict[str, float]:
        found.append((resident(), time.time()))
        sys.stderr.write(f"{kind} {len(found)}: {found[-1][0]:.0f} MiB\n")
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)}

    data = samples(kind, sizes(small)["vocabulary"])
    args = TFTrainingArguments(
        "out",
        max_steps=4,
        per_device_train_batch_size=8,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps" if saves else "no",
        save_steps=4,
        save_total_limit=1,
        report_to=report_to,
        disable_tqdm=True,
    )
    trainer = TFTrainer(args=args, model_init=lambda: model_of(kind, small), train_dataset=data, eval_dataset=data)
    trainer.hyperparameter_search(space, n_trials=trials)
    found.append((resident(), time.time()))
    after = found[2:]  # The first two are of the check of the space and of the first trial.
    seconds = (after[-1][1] - after[0][1]) / max(1, len(after) - 1)
    sys.stdout.write(json.dumps({"memory": [memory for memory, _ in after], "seconds": seconds}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--trials", type=int, default=20, help="of each search")
    parser.add_argument("--saves", action="store_true", help="a checkpoint at the end of each trial")
    parser.add_argument("--report-to", default="none", help="'wandb' for an offline run of each trial")
    parser.add_argument("--small", action="store_true", help="a tiny model")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        search(given.kinds[0], given.trials, given.small, given.saves, given.report_to)
        return
    sys.stdout.write("| model | 2nd | 10th | last | more | in models | s a trial |\n|---|---|---|---|---|---|---|\n")
    for kind in given.kinds:
        command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--here", "--kinds", kind]
        with tempfile.TemporaryDirectory() as directory:
            environment = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", **os.environ}
            ended = subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.PIPE, check=True)
        found = json.loads(ended.stdout.splitlines()[-1])
        memory = found["memory"]
        second, tenth, last = memory[1], memory[min(9, len(memory) - 1)], memory[-1]
        more = last - second
        sys.stdout.write(
            f"| {kind} | {second:.0f} | {tenth:.0f} | {last:.0f} | {more:.0f} | {more / MODEL:.1f} "
            f"| {found['seconds']:.1f} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
