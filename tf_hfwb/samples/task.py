"""What a task is: how its samples, labels and predictions are shown."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Row = dict[str, Any]


@dataclass
class Example:
    """One sample as it is shown.

    Attributes:
        columns: Its input, by the names of the columns.
        context: The text in which an answer lies, if it is known as it was before it was tokenised.
        offsets: Where each token's text begins and ends in it; of other tokens (0, 0).
    """

    columns: Row
    context: str | None = None
    offsets: Sequence[tuple[int, int]] = field(default_factory=list)


class Task(abc.ABC):
    """A kind of model with the columns that show what it does.

    :meth:`reduce` runs inside the graph, so that only what is shown leaves it; :meth:`rows` on another thread.
    """

    @abc.abstractmethod
    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """How one sample of a batch is shown, from the model's inputs."""

    def reduce(self, inputs: Any, labels: Any, outputs: Any) -> Mapping[str, Any]:
        """Of the model's outputs, in the graph, what :meth:`rows` needs: tensors whose first axis is the batch."""
        return {"logits": outputs["logits"]}

    def generate(self, inputs: Any) -> Mapping[str, np.ndarray]:
        """What else is needed of the model, made outside the graph."""
        return {}

    @abc.abstractmethod
    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """The columns of label and prediction for each sample of a batch; a list of dicts."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of each value for itself, in float64."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500)))


def negative_log(probability: Any) -> Any:
    """The loss of a probability; of 0 a large number, as Keras has it."""
    return -np.log(np.maximum(probability, 1e-30))


class ClassNames:
    """Names of classes by their number.

    Args:
        names: The names, or None: numbers are shown.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = None if names is None else [str(name) for name in names]

    def __getitem__(self, number: Any) -> str:
        number = int(number)
        return self._names[number] if self._names is not None and 0 <= number < len(self._names) else str(number)

    def __iter__(self) -> Any:
        return iter(self._names or ())
