"""The loss of a trainer with ``compute_loss_func``, or of a subclass with ``compute_loss``, for the model's step."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NUMBER = "num_items_in_batch"


@dataclass(frozen=True)
class OwnLossFunction:
    """Calls ``compute_loss`` with the arguments that it takes.

    Attributes:
        compute_loss: From the model, a batch and ``return_outputs`` to the loss; it may take ``num_items_in_batch``.
        is_mean_of_items: Whether it is taken for a sum, divided by ``num_items_in_batch``.
    """

    compute_loss: Callable[..., Any]
    is_mean_of_items: bool = False

    def __call__(self, model: Any, batch: dict[str, Any], *, return_outputs: bool) -> Any:
        """The loss of a batch, and the outputs where they are asked for."""
        options: dict[str, Any] = {"return_outputs": True} if return_outputs else {}
        if _takes_number(self.compute_loss):
            options[_NUMBER] = _at_least_one(_number_of_items(batch.get("labels")))
        return self.compute_loss(model, batch, **options)

    def count_items(self, batch: dict[str, Any]) -> Any:
        """The labels that are not -100; None where the batch has none."""
        return _number_of_items(batch.get("labels"))


def names_number(function: Callable[..., Any]) -> bool:
    """Whether it takes ``num_items_in_batch`` by its name, and so will divide by it."""
    return _NUMBER in inspect.signature(function).parameters


def _takes_number(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return names_number(function) or any(one.kind is one.VAR_KEYWORD for one in parameters)


def _at_least_one(number: Any) -> Any:
    """The number, to divide by: the sum over no items is 0, and so is then the loss."""
    if number is None:
        return None
    if hasattr(number, "clip"):
        return number.clip(1.0)
    import tensorflow as tf

    return tf.maximum(number, 1.0)


def _number_of_items(labels: Any) -> Any:
    """How many labels are not -100, as a float, since TensorFlow divides by no integer; None without such labels."""
    if labels is None or not hasattr(labels, "dtype"):
        return None
    if hasattr(labels, "astype"):
        return (labels != -100).astype("float32").sum()
    return (labels != -100).float().sum() if hasattr(labels, "float") else _count(labels)  # Of PyTorch, or TensorFlow.


def _count(labels: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(tf.cast(tf.cast(labels, tf.float32) != -100.0, tf.float32))
