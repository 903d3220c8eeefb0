"""What a ``compute_metrics`` is called with: transformers' ``EvalPrediction``, or its like where that is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any


class EvalPrediction:
    """Predictions and labels, and what else was asked for.

    Follows ``transformers.trainer_utils.EvalPrediction``, which can be unpacked, too:
    ``logits, labels = eval_prediction``.
    """

    def __init__(self, predictions: Any, label_ids: Any, inputs: Any = None, losses: Any = None) -> None:
        self.predictions = predictions
        self.label_ids = label_ids
        self.inputs = inputs
        self.losses = losses
        self.elements = (predictions, label_ids, *(part for part in (inputs, losses) if part is not None))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.elements)

    def __getitem__(self, index: int) -> Any:
        return self.elements[index]


def prediction_class() -> Callable[..., Any]:
    """The class of transformers, which a user's function may ask for, or the one above."""
    if importlib.util.find_spec("transformers") is None:
        return EvalPrediction
    from transformers import trainer_utils

    return trainer_utils.EvalPrediction
