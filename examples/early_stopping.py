"""What early stopping saves: ``python examples/early_stopping.py``.

The same model is trained five times from the same weights: to the end; with Keras's ``EarlyStopping``; and with that of
tf_hfwb at the end of epochs, by steps, and without going back to the best weights. A table tells how many steps each
took, which was the best, and which weights the model has in the end.

Without flags it needs neither a network nor an account, and takes about three minutes on two cores: a small BERT learns
from scratch to tell the topic of questions (of the package chatterbot-corpus, BSD licence). The real thing:

    python examples/early_stopping.py --model_name_or_path bert-base-uncased --dataset_name nyu-mll/glue \
        --dataset_config_name mrpc --num_train_epochs 8 --output_dir mrpc_stopping

What to look at: in the table, the steps saved, and the loss of the weights that the model has in the end. In the W&B
runs (in ./wandb, the group early_stopping; a chart of eval/loss over train/global_step has a line for each), where the
loss turns upwards and how soon after that a run ends; early_stopping/best_step in the summaries. At the end of epochs
both callbacks do the same. By steps the turning point is found within an epoch, for the time of more evaluations; and
what that of tf_hfwb has counted is in the checkpoints (--save_strategy epoch), so that a resumed training stops where
the uninterrupted one would have. The flags are those of text_classification.py, and --patience and --looks.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("WANDB_SILENT", "true")  # Five runs have much to say when they end.
os.environ.setdefault("WANDB_RUN_GROUP", "early_stopping")

from text_classification import (
    ModelArguments,
    compute_metrics,
    load_config,
    load_model,
    load_tokenizer,
    quiet_import,
    tokenize,
)
from text_data import DataTrainingArguments, load_texts
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import EarlyStopping, TFTrainer, TFTrainingArguments

SCRIPT_DEFAULTS = {
    "output_dir": "early_stopping",
    "eval_strategy": "epoch",
    "save_strategy": "no",
    "logging_steps": 10,
    "learning_rate": 1e-3,
    "num_train_epochs": 24,
    "per_device_train_batch_size": 32,
    "lr_scheduler_type": "constant",
    "disable_tqdm": True,
}


@dataclass
class StoppingArguments:
    """When to stop."""

    patience: int = field(default=2, metadata={"help": "Stop after so many epochs without a better loss."})
    looks: int = field(default=4, metadata={"help": "Evaluations in an epoch, for stopping by steps."})


@dataclass
class Outcome:
    """One training: how long it was, its best evaluation, and what the model has in the end."""

    name: str
    steps: int
    seconds: float
    losses: dict[int, float]  # By step.
    loss: float
    accuracy: float

    @property
    def best_step(self) -> int:
        return min(self.losses, key=lambda step: self.losses[step])

    @property
    def held_step(self) -> int:
        """The step whose loss is that of the weights that the model has."""
        return min(self.losses, key=lambda step: abs(self.losses[step] - self.loss))


def run(
    stopping: StoppingArguments, model_args: ModelArguments, data_args: DataTrainingArguments, args: TFTrainingArguments
) -> None:
    """Load the texts, train in each way, and compare."""
    texts = load_texts(data_args, ["train", "validation"])
    config = load_config(model_args, texts["train"])
    tokenizer = load_tokenizer(model_args, texts["train"])
    datasets = {
        name: tokenize(some, tokenizer, data_args.max_seq_length, config.label2id) for name, some in texts.items()
    }
    print(", ".join(f"{name}: {len(some)} texts" for name, some in texts.items()) + f"; {config.num_labels} labels")
    epoch = -(-len(texts["train"]) // args.train_batch_size)
    by_steps = {"eval_strategy": "steps", "eval_steps": max(epoch // stopping.looks, 1)}

    outcomes = []
    for name, callbacks, changes in ways_to_stop(stopping, by_steps):
        more = {
            "run_name": name,
            "output_dir": os.path.join(args.output_dir, name.replace(",", "").replace(" ", "_")),
            **changes,
        }
        trainer = TFTrainer(
            load_model(model_args, config, tokenizer, args.seed),
            dataclasses.replace(args, **more),
            train_dataset=datasets["train"],
            eval_dataset=datasets["validation"],
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
        )
        outcomes.append(train(name, trainer))
        print(f"{name}: {outcomes[-1].steps} steps in {outcomes[-1].seconds:.0f} s")
    print(table(outcomes))
    if "wandb" in args.report_to:
        print(
            "The runs are in ./wandb, in the group early_stopping; look at one with: tf-hfwb show wandb/offline-run-..."
        )


def ways_to_stop(stopping: StoppingArguments, by_steps: dict[str, Any]) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """Names, callbacks, and what differs in the arguments."""
    with quiet_import():
        from tf_keras.callbacks import EarlyStopping as KerasEarlyStopping

    patience = stopping.patience
    return [
        ("to the end", [], {}),
        ("Keras by epochs", [KerasEarlyStopping("val_loss", patience=patience, restore_best_weights=True)], {}),
        ("ours by epochs", [EarlyStopping("eval_loss", patience=patience, restore_best_weights=True)], {}),
        (
            "ours by steps",
            [EarlyStopping("eval_loss", patience=patience * stopping.looks, restore_best_weights=True)],
            by_steps,
        ),
        ("ours, not restored", [EarlyStopping("eval_loss", patience=patience)], {}),
    ]


def train(name: str, trainer: TFTrainer) -> Outcome:
    """Train in one way, in a W&B run of its own."""
    import wandb

    trained = trainer.train()
    losses = {row["step"]: row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row}
    found = trainer.evaluate()
    wandb.finish()
    return Outcome(
        name, trained.global_step, trained.metrics["train_runtime"], losses, found["eval_loss"], found["eval_accuracy"]
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """What each training took and gave."""
    longest = outcomes[0]
    lines = [f"{'stopping':18}  steps   time  saved  best step  weights in the end  eval_loss  accuracy"]
    for one in outcomes:
        held = f"{'best' if one.held_step == one.best_step else 'last'} (step {one.held_step})"
        lines.append(
            f"{one.name:18} {one.steps:6} {one.seconds:4.0f} s {1 - one.steps / longest.steps:6.0%} "
            f"{one.best_step:10}  {held:18}  {one.loss:9.3f}  {one.accuracy:8.3f}"
        )
    return "\n".join(["", *lines, ""])


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    kinds = (StoppingArguments, ModelArguments, DataTrainingArguments, TFTrainingArguments)
    parser = HfArgumentParser(kinds, description="Compare ways to stop a training early.")
    parser.set_defaults(**SCRIPT_DEFAULTS)
    with tell_errors():
        run(*parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


if __name__ == "__main__":
    main()
