"""The base class of tasks: how their samples, labels and predictions are shown."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError

Row = dict[str, Any]


@dataclass
class Example:
    """One sample as it is shown.

    Attributes:
        columns: Its input, by the names of the columns.
        context: The original text that contains the answer, if it is known.
        offsets: The begin and end of each token's text in the context; (0, 0) for other tokens.
        words: The original words with the positions of their first tokens, if they are known.
        end: The text after the last word: a mark where more was cut off.
    """

    columns: Row
    context: str | None = None
    offsets: Sequence[tuple[int, int]] = field(default_factory=list)
    words: Sequence[tuple[str, int]] | None = None
    end: str = ""


class Task(abc.ABC):
    """A kind of model with the columns that show what it does.

    :meth:`reduce` runs inside the graph, so that only what is shown leaves it. :meth:`rows` runs on another thread.

    Attributes:
        only_generates: Whether, without labels, only what the model generates is needed, and not its outputs.
    """

    only_generates = False

    @abc.abstractmethod
    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """One sample of a batch as it is shown, made from the model's inputs."""

    def reduce(self, inputs: Any, labels: Any, outputs: Any) -> Mapping[str, Any]:
        """Reduce the model's outputs in the graph to what :meth:`rows` needs: tensors, the batch as first axis."""
        return {"logits": outputs["logits"]}

    def generate(self, inputs: Any) -> Mapping[str, np.ndarray]:
        """What else :meth:`rows` needs of the model, computed outside the graph."""
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
    """The probability of each value on its own, in float64."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500)))


def negative_log(probability: Any) -> Any:
    """The loss of a probability; for 0 a large number, as in Keras."""
    return -np.log(np.maximum(probability, 1e-30))


SHOWN_NUMBERS = 32


def format_numbers(values: np.ndarray, digits: int) -> str:
    """Write numbers as a text; only the first ones if there are many."""
    flat = values.reshape(-1)
    text = " ".join(f"{value:.{digits}g}" for value in flat[:SHOWN_NUMBERS])
    return f"{text} …" if flat.size > SHOWN_NUMBERS else text


class ClassNames:
    """Names of classes by their number.

    Args:
        names: The names in order, or by number, or None: numbers are shown.
        must_be_all: Whether it is an error if a class has no name.
    """

    def __init__(self, names: Sequence[str] | Mapping[Any, str] | None = None, *, must_be_all: bool = False) -> None:
        pairs = names.items() if isinstance(names, Mapping) else enumerate(() if names is None else names)
        self._names = {int(number): str(name) for number, name in pairs}
        self._must_be_all = must_be_all

    def __getitem__(self, number: Any) -> str:
        return self._names.get(int(number), str(int(number)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def number_of(self, name: str) -> int | None:
        """The class of that name."""
        return next((number for number, known in self._names.items() if known == name), None)

    def check(self, number: int) -> None:
        """Check that all classes have a name, if they must.

        Args:
            number: The number of classes.

        Raises:
            SettingError: One has none.
        """
        if self._must_be_all and not self._names.keys() >= set(range(number)):
            raise SettingError(
                "class_names", self._names, expected=f"a name for each of the {number} classes, from 0 on"
            )
