"""Keras's names of metrics, and W&B's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EVALUATION_PREFIXES = {"val_": "eval/", "eval_": "eval/", "test_": "test/"}
_LEARNING_RATES = ("lr", "learning_rate")


def evaluation_name(metric: str) -> str | None:
    """The row's name of an evaluation metric among the logs of a fit; None for a training metric.

    Example:
        >>> evaluation_name("val_accuracy"), evaluation_name("test_loss"), evaluation_name("eval/f1")
        ('eval/accuracy', 'test/loss', 'eval/f1')
        >>> evaluation_name("accuracy")
    """
    for prefix, room in _EVALUATION_PREFIXES.items():
        if metric.startswith(prefix):
            return room + metric[len(prefix) :]
    return metric if metric.startswith(("eval/", "test/")) else None


def row_name(metric: str) -> str:
    """The row's name of a metric among the logs of a fit.

    Example:
        >>> row_name("val_loss"), row_name("eval_loss"), row_name("loss")
        ('eval/loss', 'eval/loss', 'train/loss')
    """
    return evaluation_name(metric) or (metric if metric.startswith("train/") else f"train/{metric}")


def evaluation_metrics(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation metrics among the logs of a fit, under the row's names."""
    names = ((evaluation_name(metric), value) for metric, value in logs.items())
    return {name: value for name, value in names if name is not None}


def training_metrics(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The training metrics among the logs of a fit, under the row's names; without learning rates, which we read."""
    return {
        metric if metric.startswith("train/") else f"train/{metric}": value
        for metric, value in logs.items()
        if evaluation_name(metric) is None and metric not in _LEARNING_RATES
    }
