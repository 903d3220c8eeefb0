"""Train a classifier of KerasHub with ``fit`` and these callbacks: ``python examples/keras_hub_classification.py``.

It needs ``pip install keras-hub``. Without flags it needs neither a network nor an account, and takes about a minute on
two cores: a small BERT of KerasHub, made from its configuration, learns from scratch to tell the topic of questions (of
the package chatterbot-corpus, BSD licence). It is a Keras 3 model: ``KERAS_BACKEND=jax`` trains it with JAX. With a
network it starts from a preset:

    python examples/keras_hub_classification.py --preset bert_tiny_en_uncased --learning_rate 5e-5 \
        --train_file reviews.csv --text_column_names review --label_column_name stars

What to look at: in the W&B run (in ./wandb) train/loss and eval/loss over train/global_step, and in the summary
early_stopping/best_step; the table sample_predictions, with the texts as they are: the model brings its preprocessor.
The checkpoint of the best epoch is below keras_hub_classification; the last lines load the model from there, and it
gives the accuracy that it had in the training. The data flags are those of text_classification.py.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from text_classification import fit_tokenizer, learnt, quiet_import, where_the_run_is
from text_data import DataTrainingArguments, Texts, load_texts
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import (
    EarlyStopping,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    load_model,
    training_batches,
)
from tf_hfwb.errors import DataError


@dataclass
class FitArguments:
    """Which model, and how it is trained."""

    preset: str | None = field(default=None, metadata={"help": "A preset of KerasHub; without one, a small new BERT."})
    output_dir: str = field(default="keras_hub_classification", metadata={"help": "Where checkpoints are written."})
    num_train_epochs: int = field(default=15, metadata={"help": "The most epochs; early stopping may end it before."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Of Adam."})
    batch_size: int = field(default=32, metadata={"help": "Texts in a batch."})
    patience: int = field(default=3, metadata={"help": "Stop after so many epochs without a better loss."})
    seed: int = field(default=0, metadata={"help": "Of the weights and the order of the texts."})


def run(data_args: DataTrainingArguments, args: FitArguments) -> None:
    """Load the texts, train, and load the best checkpoint."""
    import wandb

    texts = load_texts(data_args, ["train", "validation"])
    names = texts["train"].names or []
    print(f"train: {len(texts['train'])} texts, validation: {len(texts['validation'])}; {len(names)} labels")
    model = build(args, texts["train"], data_args.max_seq_length)
    arrays = {name: arrays_of(some, names) for name, some in texts.items()}

    # KerasHub's fit does not shuffle arrays; this does, before each epoch.
    batches = training_batches(arrays["train"], args.batch_size, model=model, seed=args.seed)
    stopping = EarlyStopping("val_loss", patience=args.patience, restore_best_weights=True)
    model.fit(
        batches.dataset,
        steps_per_epoch=batches.steps_per_epoch,
        validation_data=arrays["validation"],
        epochs=args.num_train_epochs,
        verbose=2,
        callbacks=[
            WandbMetricsLogger(log_freq=5),
            WandbEvalTable(arrays["validation"], num_samples=40, class_names=names),
            stopping,
            WandbModelCheckpoint(args.output_dir, monitor="val_loss", save_best_only=True),
        ],
    )
    _, accuracy = model.evaluate(*arrays["validation"], verbose=0)
    best = os.path.join(args.output_dir, f"checkpoint-{stopping.best_step}")
    loaded = load_model(best)
    guesses = loaded.predict(arrays["validation"][0], verbose=0).argmax(axis=-1)
    print(
        "",
        learnt(accuracy, texts["validation"], len(names)),
        f"The model in {shlex.quote(best)}, loaded: {(guesses == arrays['validation'][1]).mean():.2f}.",
        *where_the_run_is(None if wandb.run is None else os.path.dirname(wandb.run.dir)),
        sep="\n",
    )


def build(args: FitArguments, train: Texts, max_length: int) -> Any:
    """A compiled classifier that takes texts."""
    try:
        with quiet_import():
            import keras
            import keras_hub
    except ImportError as error:
        raise DataError(
            f"KerasHub cannot be imported: {error}. Expected it to be installed. Run `pip install keras-hub`."
        ) from error
    keras.utils.set_random_seed(args.seed)
    classes = len(train.names or ())
    if args.preset:
        preprocessor = keras_hub.models.TextClassifierPreprocessor.from_preset(args.preset, sequence_length=max_length)
        model = keras_hub.models.TextClassifier.from_preset(args.preset, num_classes=classes, preprocessor=preprocessor)
    else:
        pieces = fit_tokenizer(text for row in train.rows for text in row).get_vocab()
        tokenizer = keras_hub.models.BertTokenizer(sorted(pieces, key=pieces.get), lowercase=True)
        preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=max_length)
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size=len(pieces),
            num_layers=2,
            num_heads=2,
            hidden_dim=128,
            intermediate_dim=256,
            max_sequence_length=max_length,
        )
        model = keras_hub.models.BertTextClassifier(backbone, num_classes=classes, preprocessor=preprocessor)
    model.compile(
        optimizer=keras.optimizers.Adam(args.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def arrays_of(texts: Texts, names: Sequence[str]) -> tuple[Any, Any]:
    """The texts themselves, which the model's own preprocessor turns into numbers, and the numbers of the labels."""
    import numpy as np

    numbers = {name: number for number, name in enumerate(names)}
    return np.array([text for (text,) in texts.rows]), np.array(texts.label_ids(numbers))


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    parser = HfArgumentParser((DataTrainingArguments, FitArguments), description="Train a classifier of KerasHub.")
    parser.set_defaults(max_seq_length=32)
    with tell_errors():
        run(*parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


if __name__ == "__main__":
    main()
