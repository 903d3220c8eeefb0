"""Plain Keras classifiers and regressors on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.errors import DataError
from tf_hfwb.samples.classes import class_rows, multi_label_rows, regression_rows
from tf_hfwb.samples.pictures import is_picture, picture
from tf_hfwb.samples.task import ClassNames, Example, Row, Task, sigmoid, softmax

SHOWN_NUMBERS = 32
Losses = Callable[[Any, Any], "np.ndarray | None"]


class Arrays(Task):
    """A model with one output, whose labels and loss tell what it does.

    Args:
        names: Of the classes.
        losses: From labels and outputs to the loss of each sample, or None.
        loss_name: Of the loss that the model is compiled with.
        gives_logits: Whether the loss takes logits; None if it does not tell.
    """

    def __init__(self, names: ClassNames, losses: Losses, loss_name: str, gives_logits: bool | None) -> None:
        self._names = names
        self._losses = losses
        self._is_classifier = any(word in loss_name for word in ("crossentropy", "hinge"))
        self._is_categorical = "categorical" in loss_name
        self._gives_logits = gives_logits

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """Numbers, text or an image by the names of the inputs."""
        if not isinstance(inputs, Mapping):
            parts = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            inputs = {"input" if len(parts) == 1 else f"input_{number}": part for number, part in enumerate(parts)}
        return Example({name: _shown(np.asarray(value)[row]) for name, value in inputs.items()})

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """Classes or numbers, and the loss that the model is compiled with."""
        if len(outputs) != 1:
            raise DataError(
                f"The model has {len(outputs)} outputs: {', '.join(outputs)}. Expected one, whose labels and "
                "predictions can be shown. Pass rows=, a function from inputs, labels and predictions to a list of "
                "dicts."
            )
        (values,) = outputs.values()
        flat = values.reshape(len(values), -1)
        rows = self._rows(values, flat, labels)
        if labels is not None:
            losses = self._losses(labels, values)
            for row, loss in zip(rows, [None] * len(rows) if losses is None else losses, strict=True):
                row["loss"] = None if loss is None else float(loss)
        return rows

    def _rows(self, values: np.ndarray, flat: np.ndarray, labels: Any) -> list[Row]:
        wide = flat.shape[1] > 1 and values.ndim == 2
        if not self._is_classifier or values.ndim > 2:
            return regression_rows(values, labels)
        if self._is_categorical and wide:
            if labels is not None and np.ndim(labels) > 1 and np.shape(labels)[-1] == flat.shape[1]:
                labels = np.argmax(labels, axis=-1)
            numbers = None if labels is None else np.asarray(labels).reshape(len(flat))
            return class_rows(self._probabilities(flat, softmax), numbers, self._names)
        probabilities = self._probabilities(flat, sigmoid)
        if wide:
            return multi_label_rows(probabilities, labels, self._names)
        both = np.concatenate([1 - probabilities, probabilities], axis=1)
        return class_rows(both, None if labels is None else np.asarray(labels).reshape(len(flat)) > 0.5, self._names)

    def _probabilities(self, values: np.ndarray, of_logits: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        is_logits = self._gives_logits
        if is_logits is None:
            sums = values.sum(axis=-1) if of_logits is softmax else np.ones(len(values))
            is_logits = bool((values < 0).any() or (values > 1).any() or not np.allclose(sums, 1, atol=1e-3))
        return of_logits(values) if is_logits else values.astype(np.float64)


def _shown(value: np.ndarray) -> Any:
    if value.dtype.kind in "OSU":
        texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in value.reshape(-1)]
        return " ".join(texts)
    if is_picture(value):
        return picture(value)
    numbers = value.reshape(-1)
    if numbers.size == 1:
        return numbers[0].item()
    return " ".join(f"{number:.4g}" for number in numbers[:SHOWN_NUMBERS]) + (
        " …" if numbers.size > SHOWN_NUMBERS else ""
    )
