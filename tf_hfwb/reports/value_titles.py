"""What logged values are called in the page, in words."""

from __future__ import annotations

PARTS = {"train": "training", "eval": "evaluation", "val": "evaluation", "test": "test"}

_TITLES = {
    "loss": "Loss",
    "learning_rate": "Learning rate",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
    "samples_per_second": "Samples per second",
    "steps_per_second": "Steps per second",
    "tokens_per_second": "Tokens per second",
    "num_input_tokens_seen": "Tokens seen",
    "runtime": "Duration of an evaluation",
    "f1": "F1",
    "auc": "AUC",
    "bleu": "BLEU",
    "mae": "Mean absolute error",
    "mse": "Mean squared error",
}
_UNITS = {"runtime": "seconds"}


def part_of(name: str) -> str | None:
    """The part of the training that a value belongs to, ``"training"`` or so; None if its name tells none.

    Example:
        >>> part_of("eval/loss"), part_of("mine")
        ('evaluation', None)
    """
    before, slash, _ = name.partition("/")
    return PARTS.get(before) if slash else None


def subject_of(name: str) -> str:
    """What is measured: the same for training and evaluation.

    Example:
        >>> subject_of("eval/loss"), subject_of("mine/loss")
        ('loss', 'mine/loss')
    """
    return name.partition("/")[2] if part_of(name) else name


def title_of(subject: str) -> str:
    """The title of a chart.

    Example:
        >>> title_of("learning_rate"), title_of("matthews_correlation"), title_of("mine/Dice")
        ('Learning rate', 'Matthews correlation', 'mine/Dice')
    """
    if subject in _TITLES:
        return _TITLES[subject]
    is_plain = subject.isascii() and subject.replace("_", "").isalnum() and subject.islower()
    return subject.replace("_", " ").capitalize() if is_plain else subject


def unit_of(subject: str) -> str:
    """The unit of its axis; empty if there is none to tell."""
    return _UNITS.get(subject, "")
