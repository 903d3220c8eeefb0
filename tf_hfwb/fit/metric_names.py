"""Keras's names of metrics, and W&B's.

The logs of an epoch are one dict, into which Keras and callbacks put what they know. What the train step reports is a
metric of the training, whatever it is called; everything else has been added by an evaluation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

LEARNING_RATE = "train/learning_rate"
_EVALUATION_PREFIXES = {"val_": "eval/", "eval_": "eval/", "test_": "test/"}
_LEARNING_RATES = ("lr", "learning_rate")


def evaluation_name(metric: str) -> str | None:
    """The row's name of a metric that is called one of an evaluation; None for any other.

    Example:
        >>> evaluation_name("val_accuracy"), evaluation_name("test_loss"), evaluation_name("eval/f1")
        ('eval/accuracy', 'test/loss', 'eval/f1')
        >>> evaluation_name("accuracy")
    """
    for prefix, room in _EVALUATION_PREFIXES.items():
        if metric.startswith(prefix):
            return room + metric[len(prefix) :]
    return metric if metric.startswith(("eval/", "test/")) else None


def row_name(metric: str, reported: Collection[str] = ()) -> str:
    """The row's name of a metric among the logs of a fit.

    Args:
        metric: Its name there.
        reported: The names that the train step reports; empty while they are not known: then only the name tells.

    Example:
        >>> row_name("val_loss"), row_name("eval_loss"), row_name("loss")
        ('eval/loss', 'eval/loss', 'train/loss')
        >>> row_name("test_acc", {"loss", "test_acc"}), row_name("rouge1", {"loss"})
        ('train/test_acc', 'eval/rouge1')
    """
    if metric in _LEARNING_RATES:
        return LEARNING_RATE
    if metric in reported:
        return training_name(metric)
    name = evaluation_name(metric)
    if name is None and reported and not metric.startswith("train/"):
        return f"eval/{metric}"
    return name or training_name(metric)


def training_name(metric: str) -> str:
    """The row's name of a metric of the training.

    Example:
        >>> training_name("loss"), training_name("acc/top1")
        ('train/loss', 'train/acc/top1')
    """
    return metric if metric.startswith("train/") else f"train/{metric}"


def named(logs: Mapping[str, Any], reported: Collection[str] = ()) -> dict[str, Any]:
    """The logs of a fit under the rows' names; arguments as in :func:`row_name`."""
    return {row_name(metric, reported): value for metric, value in _flat(logs)}


def _flat(logs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for metric, value in logs.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield metric, value


def training_metrics(logs: Mapping[str, Any]) -> dict[str, Any]:
    """What a train step has reported under the rows' names; without learning rates, which we read.

    Nested logs are named by their inner names, as Keras 3 names them at the end of an epoch.

    Example:
        >>> training_metrics({"loss": 0.5, "parts": {"reconstruction": 0.3, "kl": 0.2}})
        {'train/loss': 0.5, 'train/reconstruction': 0.3, 'train/kl': 0.2}
    """
    return {training_name(metric): value for metric, value in _flat(logs) if metric not in _LEARNING_RATES}


def added_metrics(logs: Mapping[str, Any], reported: Collection[str]) -> dict[str, Any]:
    """What else than the train step's is among the logs of an epoch, under the rows' names."""
    more = named({metric: value for metric, value in logs.items() if metric not in reported}, reported)
    more.pop(LEARNING_RATE, None)
    return more


def possible_rows(metric: str) -> tuple[str, ...]:
    """The rows' names that a metric may turn out to have, before it is known what the train step reports.

    Example:
        >>> possible_rows("val_f1"), possible_rows("f1")
        (('eval/f1',), ('train/f1', 'eval/f1'))
    """
    return tuple(dict.fromkeys([row_name(metric), row_name(metric, ("",))]))


def is_evaluation(row: str) -> bool:
    """Whether a row's name is that of an evaluation metric."""
    return row.startswith(("eval/", "test/"))
