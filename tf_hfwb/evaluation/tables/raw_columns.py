"""Which columns of a raw data set are a model's input and label, by their names and types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_hfwb.data.column_roles import LABEL_ALIASES
from tf_hfwb.errors import DataError

LABELS = ("labels", *LABEL_ALIASES)
TAGS = (*LABELS, "ner_tags", "pos_tags", "chunk_tags", "tags")
# The columns of text of well-known data sets, by name.
_KNOWN_TEXTS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("text", "text_pair"),
    ("sentence",),
    ("text",),
)
_SOURCES = ("source", "document", "article", "dialogue", "text", "input", "question")
_TARGETS = ("target", "summary", "highlights", "abstract", "output", "answer")
_IDS = ("id", "idx", "index", "guid", "uid", "uuid", "url")


def label_columns(kind: str | None) -> tuple[str, ...]:
    """The names of columns that are a task's label."""
    return TAGS if kind == "tags" else LABELS


def label_column(data: Any, kind: str | None, number: int | None = None) -> str | None:
    """The column of a data set that is the label: by its name, or the only one of classes.

    Args:
        data: A ``datasets.Dataset``.
        kind: The task.
        number: How many classes the model has; of several columns the first with as many is taken.
    """
    features = _features(data)
    named = [name for name in label_columns(kind) if name in features]
    if named:
        return next((name for name in named if _may_have(features[name], number)), named[0])
    classes = [name for name, feature in features.items() if _classes(feature)]
    if kind == "tags":
        classes = [name for name in classes if is_list(features[name])]
    return classes[0] if kind in ("classification", "tags") and len(classes) == 1 else None


def class_names(data: Any, kind: str | None, number: int | None) -> list[str] | None:
    """The names of the classes from the features of the label's column, or of the column that it was made from.

    Args:
        data: Any data; only a ``datasets.Dataset`` has names.
        kind: The task.
        number: How many classes the model has.
    """
    features = _features(data)
    column = label_column(data, kind, number)
    names = None if column is None else _classes(features[column])
    if names:
        return names
    others = [features[name] for name in label_columns(kind) if name in features]
    fitting = [feature for feature in others if _classes(feature) and _may_have(feature, number)]
    return _classes(fitting[0]) if len(fitting) == 1 else None


def is_list(feature: Any) -> bool:
    """Whether each row has several values."""
    return isinstance(feature, list) or hasattr(feature, "feature")


def holds_ids(data: Any, column: str) -> bool:
    """Whether each row has several classes, by their numbers."""
    feature = _features(data).get(column)
    return is_list(feature) and _classes(feature) is not None


def _features(data: Any) -> dict[str, Any]:
    features = getattr(data, "features", None)
    return features if isinstance(features, dict) else {}


def _may_have(feature: Any, number: int | None) -> bool:
    """Whether a column can be the label of a model with so many classes."""
    names = _classes(feature)
    return names is None or number is None or len(names) == number


def _classes(feature: Any) -> list[str] | None:
    while is_list(feature):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    names = getattr(feature, "names", None)
    return None if names is None else list(names)


def text_columns(data: Any, kind: str, model_name: str) -> list[str]:
    """The columns of text that are the input; for a sequence-to-sequence model the source and the target.

    Raises:
        DataError: The names do not tell which columns they are.
    """
    there = [
        name
        for name, feature in _features(data).items()
        if getattr(feature, "dtype", None) in ("string", "large_string") and not is_id(name) and name not in LABELS
    ]
    if kind == "classification":
        found = _classification_columns(there)
        expected = "one column of text, or two that belong together by their names"
    elif kind == "rewriting":
        found = _rewriting_columns(there)
        expected = f"a source ({', '.join(_SOURCES)}) and a target ({', '.join(_TARGETS)})"
    else:
        found, expected = ["text"] if "text" in there else there[: len(there) == 1], "one column of text"
    if found:
        return found
    raise DataError(
        f"Which of the columns {data.column_names} the input of {model_name} is cannot be told. Expected {expected}. "
        "Pass input_columns=[...], or a tokenised data set."
    )


def _classification_columns(there: Sequence[str]) -> list[str]:
    for known in _KNOWN_TEXTS:
        if set(known) <= set(there):
            return list(known)
    # "text_a" and "text_b", "title1" and "title2".
    are_alike = len(there) == 2 and there[0][:-1] == there[1][:-1] != ""
    return list(there) if len(there) == 1 or are_alike else []


def _rewriting_columns(there: Sequence[str]) -> list[str]:
    sources = [name for name in there if name in _SOURCES]
    targets = [name for name in there if name in _TARGETS]
    others = [name for name in there if name not in (*sources, *targets)]
    if len(there) == 1 and not targets:
        return list(there)
    source = sources or (others if targets else [])
    target = targets or (others if sources else [])
    return [*source, *target] if len(source) == 1 and len(target) <= 1 else []


def is_id(name: str) -> bool:
    """Whether a column of that name only identifies the row."""
    return name.lower() in _IDS or name.lower().endswith("_id")
