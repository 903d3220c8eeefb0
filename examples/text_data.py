"""Texts and their labels for ``text_classification.py``: from files, from the Hugging Face hub, or real questions.

Everything here is plain Python, so that a mistake in a file is reported before TensorFlow is imported.
"""

from __future__ import annotations

import importlib.resources
import math
import random
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from text_files import Table, listed, read_file

from tf_hfwb.errors import DataError, SettingError

TEXT_COLUMNS = (["text"], ["sentence"], ["sentence1", "sentence2"], ["premise", "hypothesis"], ["question"])
LABEL_COLUMNS = ("label", "labels", "category", "class")
HELD_OUT = 0.2  # The share of the training texts that is held out when there are no others to evaluate on.
SPLIT_SEED = 0  # Not --seed: runs with other seeds are evaluated on the same texts.


@dataclass
class DataTrainingArguments:
    """Which texts to train and evaluate on; without any, the questions of chatterbot-corpus by topic."""

    dataset_name: str | None = field(default=None, metadata={"help": "A dataset of the Hugging Face hub, or a folder."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "The dataset's configuration."})
    train_file: str | None = field(default=None, metadata={"help": "A .csv, .json or .jsonl file to train on."})
    validation_file: str | None = field(
        default=None, metadata={"help": "The same to evaluate on; else a fifth of the training texts is held out."}
    )
    test_file: str | None = field(default=None, metadata={"help": "The same to predict; needs no labels."})
    text_column_names: str | None = field(
        default=None,
        metadata={
            "help": "The column of the texts, or two with a comma between for pairs; found when not given.",
            "aliases": ["--text_column_name"],
        },
    )
    label_column_name: str | None = field(default=None, metadata={"help": "The column of the labels; found likewise."})
    max_seq_length: int = field(default=128, metadata={"help": "Longer texts are cut to so many tokens."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on so many texts, drawn at random."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "The same for the evaluation."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "Predict the first so many texts."})

    def __post_init__(self) -> None:
        """Check what can be checked without opening a file."""
        for name in ("max_seq_length", "max_train_samples", "max_eval_samples", "max_predict_samples"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise SettingError(name, value, expected="a number, 1 or more")
        if self.dataset_name and (self.train_file or self.validation_file or self.test_file):
            raise SettingError(
                "dataset_name", self.dataset_name, expected="no files beside it", advice="Pass one or the other."
            )
        if self.text_column_names and self.text_column_names.count(",") > 1:
            raise SettingError("text_column_names", self.text_column_names, expected="one column, or two for pairs")


@dataclass
class Texts:
    """Texts, or pairs of them, row by row.

    Attributes:
        source: Where they are from, for messages.
        rows: A tuple of one or two texts for each row.
        labels: A word for each row; None when rows are not labelled.
        names: All labels in the order of their numbers: of training texts, or where the data says so.
    """

    source: str
    rows: list[tuple[str, ...]]
    labels: list[str] | None
    names: list[str] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int]) -> Texts:
        """Some of the rows."""
        labels = self.labels and [self.labels[i] for i in indices]
        return Texts(self.source, [self.rows[i] for i in indices], labels, self.names)

    def label_ids(self, label2id: Mapping[str, int]) -> list[int]:
        """The labels as numbers."""
        unknown = Counter(label for label in self.labels or () if label not in label2id)
        if unknown:
            raise DataError(
                f"{self.source} has labels that the model is not trained for: {listed(sorted(unknown))} "
                f"({sum(unknown.values())} rows). Expected some of {listed(label2id)}. Correct these rows, or add "
                "such rows to the training data."
            )
        return [label2id[label] for label in self.labels or ()]


def load_texts(args: DataTrainingArguments, wanted: Collection[str], **hub: Any) -> dict[str, Texts]:
    """Load the texts that are wanted.

    Args:
        args: Where they are.
        wanted: Some of ``"train"``, ``"validation"`` and ``"test"``.
        **hub: ``cache_dir`` and ``token`` for ``datasets.load_dataset``.

    Returns:
        The texts by these names. Without validation texts, a part of the training texts is held out. Labels of the
        training texts that a sample of them lacks are among their ``names``.

    Raises:
        DataError: They cannot be found, read or used; the message says what to do.
    """
    tables = _hub_tables(args, hub) if args.dataset_name else _file_tables(args)
    needed = {*wanted, "train"} if "validation" in wanted and "validation" not in tables else set(wanted)
    texts = {name: _texts(table, args, name) for name, table in tables.items() if name in needed}
    if not (args.dataset_name or args.train_file or args.validation_file) and needed & {"train", "validation"}:
        texts["train"] = corpus_texts()
    if "train" in texts:
        texts["train"].names = label_names(texts["train"])  # While all rows are there.
    if "validation" in needed - texts.keys() and "train" in texts:
        texts["train"], texts["validation"] = hold_out(texts["train"])
    for name in wanted:
        if name not in texts:
            where = f"a split {name!r} in {args.dataset_name}" if args.dataset_name else f"--{name}_file"
            raise DataError(f"There are no {name} texts. Expected {where}. Pass it, or change the --do_... flags.")
    return {name: _limited(texts[name], args, name) for name in wanted}


def label_names(train: Texts) -> list[str]:
    """All labels: in the order of the data's own numbers, of whole numbers, or of the alphabet."""
    labels = set(train.labels or ())
    if len(labels) < 2:
        raise DataError(
            f"All {len(train)} rows of {train.source} have the label {next(iter(labels))!r}. Expected at least two "
            "labels to tell apart. Check --label_column_name and the file."
        )
    numbers = all(re.fullmatch(r"-?\d+", label) for label in labels)
    return train.names or sorted(labels, key=int if numbers else str)


def hold_out(texts: Texts) -> tuple[Texts, Texts]:
    """Split texts in two: the second gets the same share of every label."""
    generator = random.Random(SPLIT_SEED)
    kept: list[int] = []
    held: list[int] = []
    for label in sorted(set(texts.labels or ())):
        indices = [i for i, other in enumerate(texts.labels or ()) if other == label]
        generator.shuffle(indices)
        number = max(round(len(indices) * HELD_OUT), 1) if len(indices) > 1 else 0
        held += indices[:number]
        kept += indices[number:]
    if not held:
        raise DataError(
            f"{texts.source} has no label with two rows, so none can be held out. Expected some rows of each label. "
            "Add rows, or pass --validation_file."
        )
    return texts.take(sorted(kept)), texts.take(sorted(held))


# -- the questions of chatterbot-corpus --------------------------------------------------------------------------------


def corpus_texts(fewest: int = 40, most: int = 100) -> Texts:
    """The opening questions of the conversations in the package chatterbot-corpus, labelled with their topics.

    Args:
        fewest: Topics with fewer different questions are left out.
        most: So many questions of one topic at most: a third of them all would be trivia.
    """
    try:
        import yaml

        folder = importlib.resources.files("chatterbot_corpus") / "data" / "english"
    except ImportError as error:
        raise DataError(
            f"The questions to learn from are not installed ({error}). Install them with "
            "`pip install chatterbot-corpus PyYAML`, or pass --train_file or --dataset_name."
        ) from error
    texts = Texts("chatterbot-corpus", [], [])
    seen: set[str] = set()
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".yml"):
            continue
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        questions = []
        for conversation in content["conversations"]:
            question = " ".join(str(conversation[0]).split())
            plain = question.casefold().rstrip(" ?!.")
            if plain not in seen:
                seen.add(plain)
                questions.append(question)
        if len(questions) >= fewest:
            random.Random(SPLIT_SEED).shuffle(questions)
            texts.rows += [(question,) for question in questions[:most]]
            texts.labels += [content["categories"][0]] * len(questions[:most])
    return texts


# -- files -------------------------------------------------------------------------------------------------------------


def _file_tables(args: DataTrainingArguments) -> dict[str, Table]:
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    return {name: read_file(file) for name, file in files.items() if file}


# -- the hub -----------------------------------------------------------------------------------------------------------


def _hub_tables(args: DataTrainingArguments, hub: Mapping[str, Any]) -> dict[str, Table]:
    from datasets import ClassLabel, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        splits = load_dataset(args.dataset_name, args.dataset_config_name, **hub)
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(
            f"The dataset {args.dataset_name!r} cannot be loaded: {error} Expected a name on the Hugging Face hub or a "
            "folder. Check --dataset_name and --dataset_config_name, the connection, and --token for a private one."
        ) from error
    tables = {}
    for name in ("train", "validation", "test"):
        if name in splits:
            rows = splits[name]
            names = {column: what.names for column, what in rows.features.items() if isinstance(what, ClassLabel)}
            tables[name] = Table(f"{args.dataset_name} ({name})", rows.column_names, rows, names)
    return tables


# -- from columns to texts ---------------------------------------------------------------------------------------------


def _texts(table: Table, args: DataTrainingArguments, name: str) -> Texts:
    """The texts of a table: rows without text are dropped, or kept for prediction, whose rows are counted."""
    text_columns, label_column = _find_columns(table, args, must_be_labelled=name != "test")
    columns = [_strings(table, column) for column in text_columns]
    rows = list(zip(*columns, strict=True))
    labels = _labels(table, label_column, name) if label_column else None
    texts = Texts(table.source, rows, labels, table.label_names.get(label_column or ""))
    empty = [i for i, row in enumerate(rows) if not all(text.strip() for text in row)]
    if not empty:
        return texts
    where = f"{len(empty)} of {len(rows)} rows of {table.source} have no text (the first is row {empty[0] + 1})"
    if len(empty) == len(rows):
        raise DataError(f"{where}. Expected texts in {listed(text_columns)}. Pass --text_column_names.")
    if name == "test":
        print(f"Note: {where}; they are predicted like any other.")
        return texts
    print(f"Note: {where}; they are left out.")
    left_out = set(empty)
    return texts.take([i for i in range(len(rows)) if i not in left_out])


def _find_columns(table: Table, args: DataTrainingArguments, must_be_labelled: bool) -> tuple[list[str], str | None]:
    """The columns of the texts and of the labels: those named, those with usual names, or the only ones left."""
    label = args.label_column_name or next((name for name in LABEL_COLUMNS if name in table.names), None)
    named = args.text_column_names and [name.strip() for name in args.text_column_names.split(",")]
    usual = next((names for names in TEXT_COLUMNS if set(names) <= set(table.names)), None)
    others = [name for name in table.names if name != label]
    texts = named or usual or (others if len(others) == 1 else None)
    if texts is None:
        raise _no_column(
            table,
            "text",
            f"one named {listed(names[0] for names in TEXT_COLUMNS if len(names) == 1)}",
            "text_column_names",
        )
    rest = [name for name in table.names if name not in texts]
    if label is None and len(rest) == 1:
        label = rest[0]
    for name in texts:
        if name not in table.names:
            raise _no_column(table, repr(name), "one of these", "text_column_names")
    if label not in table.names:
        if not must_be_labelled:
            return texts, None
        if args.label_column_name:
            raise _no_column(table, repr(label), "one of these", "label_column_name")
        raise _no_column(table, "label", f"one named {listed(LABEL_COLUMNS)}", "label_column_name")
    return texts, label


def _no_column(table: Table, what: str, expected: str, flag: str) -> DataError:
    return DataError(
        f"{table.source} has no {what} column; its columns are {listed(table.names)}. Expected {expected}. "
        f"Name the column with --{flag}."
    )


def _strings(table: Table, column: str) -> list[str]:
    values = list(table.columns[column])
    for number, value in enumerate(values, start=1):
        if value is not None and not isinstance(value, str | int | float):
            raise DataError(
                f"The column {column!r} of {table.source} has a {type(value).__name__} in row {number}. Expected "
                "texts. Name another column with --text_column_names."
            )
    return ["" if _is_missing(value) else str(value) for value in values]


def _labels(table: Table, column: str, name: str) -> list[str] | None:
    """The labels as words; None for texts to predict that do not all have one."""
    values = list(table.columns[column])
    names = table.label_names.get(column)
    if names is not None:  # Hidden labels of a benchmark are -1.
        values = [names[value] if value is not None and value >= 0 else None for value in values]
    labels = [_word(table, column, value) for value in values]
    missing = [i for i, label in enumerate(labels) if not label]
    if missing and name == "test":
        return None
    if missing:
        raise DataError(
            f"{len(missing)} of {len(labels)} rows of {table.source} have nothing in the label column {column!r} (the "
            f"first is row {missing[0] + 1}; NaN is nothing). Expected a word or a whole number. Fill them in, "
            "or remove these rows."
        )
    if all(re.fullmatch(r"-?\d*\.?\d+", label) for label in labels) and any("." in label for label in labels):
        fraction = next(label for label in labels if "." in label)
        raise DataError(
            f"The label column {column!r} of {table.source} has fractions, such as {fraction}: "
            "that is a regression, which this script does not do. Expected words or whole numbers. Sort the numbers "
            "into classes, or name another column with --label_column_name."
        )
    return labels


def _word(table: Table, column: str, value: Any) -> str:
    if isinstance(value, list | dict):
        raise DataError(
            f"The label column {column!r} of {table.source} has a {type(value).__name__}. Expected one label in each "
            "row, a word or a whole number. Name another column with --label_column_name."
        )
    word = "" if _is_missing(value) else str(value).strip()
    # A table with gaps writes whole numbers as 1.0.
    return word.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", word) else word


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _limited(texts: Texts, args: DataTrainingArguments, name: str) -> Texts:
    limits = {"train": args.max_train_samples, "validation": args.max_eval_samples, "test": args.max_predict_samples}
    limit = limits[name]
    if limit is None or limit >= len(texts):
        return texts
    if name == "test":
        return texts.take(range(limit))
    # At random, because many datasets are sorted by label.
    return texts.take(sorted(random.Random(SPLIT_SEED).sample(range(len(texts)), limit)))
