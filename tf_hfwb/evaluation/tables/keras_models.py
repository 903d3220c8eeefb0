"""Plain Keras classifiers and regressors on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.tables.classification import class_rows, multi_label_rows, place_rows, regression_rows
from tf_hfwb.evaluation.tables.table_images import is_picture, to_picture
from tf_hfwb.evaluation.tables.table_task import ClassNames, Example, Row, Task, format_numbers, sigmoid, softmax
from tf_hfwb.keras_compat import unwrap_single

Losses = Callable[[Any, Any], "np.ndarray | None"]


class Arrays(Task):
    """A model with one output, whose task follows from its labels and its loss.

    Args:
        names: Of the classes.
        losses: From labels and outputs to the loss of each sample, or None.
        loss_name: Of the loss that the model is compiled with.
        gives_logits: Whether the loss takes logits; None if it does not tell.
        are_classes: The outputs are classes, whatever the loss.
    """

    def __init__(
        self, names: ClassNames, losses: Losses, loss_name: str, gives_logits: bool | None, *, are_classes: bool = False
    ) -> None:
        self._names = names
        self._losses = losses
        self._are_classes = are_classes
        self._is_classifier = any(word in loss_name for word in ("crossentropy", "hinge"))
        self._is_categorical = "categorical" in loss_name
        self._is_hinge = "hinge" in loss_name
        self._gives_logits = gives_logits

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """Numbers, text or an image by the names of the inputs."""
        if not isinstance(inputs, Mapping):
            parts = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            inputs = {"input" if len(parts) == 1 else f"input_{number}": part for number, part in enumerate(parts)}
        return Example({name: _show_value(np.asarray(value)[row, ...]) for name, value in inputs.items()})

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """Classes or numbers, and the loss that the model is compiled with."""
        if len(outputs) != 1:
            raise DataError(
                f"The model has {len(outputs)} outputs: {', '.join(outputs)}. Expected one, whose labels and "
                "predictions can be shown. Pass rows=, a function from inputs, labels and predictions to a list of "
                "dicts."
            )
        (values,) = outputs.values()
        values = values[:, None] if values.ndim == 1 else values
        labels = None if labels is None else np.asarray(unwrap_single(labels))
        rows = self._rows(
            values, labels, any(isinstance(one, np.ndarray) for e in examples for one in e.columns.values())
        )
        if labels is not None:
            losses = self._losses(labels, values)
            for row, loss in zip(rows, [None] * len(rows) if losses is None else losses, strict=True):
                row["loss"] = None if loss is None else float(loss)
        return rows

    def _rows(self, values: np.ndarray, labels: Any, has_pictures: bool) -> list[Row]:
        """The kind of the outputs: one class of several, any number of classes, one of two, or numbers."""
        is_wide, are_places = values.shape[-1] > 1, values.ndim > 2
        numbers = _numbers_of_classes(labels, values.shape) if is_wide else None
        if is_wide and (self._is_categorical or self._is_one_of_several(values, labels, numbers)):
            probabilities = self._probabilities(values, softmax)
            if labels is not None and numbers is None:
                raise _shape_mismatch(labels, values)
            if are_places:
                rows = place_rows(probabilities, numbers, self._names, as_pictures=has_pictures)
            else:
                rows = class_rows(probabilities, numbers, self._names)
            return self._drop_impossible_probabilities(rows, values)
        if labels is not None and labels.size != values.size:
            raise _shape_mismatch(labels, values)
        labels = None if labels is None else labels.reshape(values.shape)
        if has_pictures and is_picture(values[0]):
            return _pictures(values, labels)
        are_flags = labels is None or bool(np.isin(labels, (-1, 0, 1)).all())
        if not (self._is_classifier or self._are_classes) or (are_places and (is_wide or not are_flags)):
            return regression_rows(values, labels)
        probabilities = self._probabilities(values, sigmoid)
        if is_wide:
            return self._drop_impossible_probabilities(multi_label_rows(probabilities, labels, self._names), values)
        both = np.concatenate([1 - probabilities, probabilities], axis=-1)
        numbers = None if labels is None else (labels[..., 0] > 0.5).astype(int)
        make_rows = place_rows if are_places else class_rows
        return self._drop_impossible_probabilities(make_rows(both, numbers, self._names), values)

    def _is_one_of_several(self, values: np.ndarray, labels: Any, numbers: Any) -> bool:
        """The kind by the labels, where the loss does not tell: one class number, or a single 1 among the outputs."""
        if self._is_classifier or labels is None:
            return self._are_classes and not self._is_classifier
        if labels.shape == values.shape:
            return self._are_classes and bool((np.isin(labels, (0, 1)).all(-1) & (labels.sum(-1) == 1)).all())
        return numbers is not None and (self._are_classes or labels.dtype.kind in "iub")

    def _probabilities(self, values: np.ndarray, of_logits: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return of_logits(values) if self._are_logits(values, of_logits) else values.astype(np.float64)

    def _are_logits(self, values: np.ndarray, of_logits: Callable[[np.ndarray], np.ndarray]) -> bool:
        if self._is_hinge or self._gives_logits is not None:
            return self._is_hinge or bool(self._gives_logits)
        return _leave_range(values) or (of_logits is softmax and not np.allclose(values.sum(axis=-1), 1, atol=1e-3))

    def _drop_impossible_probabilities(self, rows: list[Row], values: np.ndarray) -> list[Row]:
        """The rows, without probabilities where the outputs are none, such as distances or what the loss clips."""
        if self._is_hinge or (self._gives_logits is False and _leave_range(values)):
            for row in rows:
                row["probability"] = None
        return rows


def _numbers_of_classes(labels: Any, shape: Sequence[int]) -> Any:
    """The class number at each position; None if the labels are something else."""
    if labels is None:
        return None
    if labels.shape == tuple(shape):
        return labels.argmax(axis=-1)
    if labels.shape in (tuple(shape[:-1]), (*shape[:-1], 1)):
        return labels.reshape(shape[:-1]).astype(np.int64)
    return None


def _leave_range(values: np.ndarray) -> bool:
    return bool(((values < 0) | (values > 1)).any())


def _shape_mismatch(labels: np.ndarray, values: np.ndarray) -> DataError:
    return DataError(
        f"The labels have the shape {labels.shape[1:]} for each sample, and the model's outputs {values.shape[1:]}. "
        "Expected the same shape, or the number of a class where the outputs have a value for each class. Pass rows=, "
        "a function from inputs, labels and predictions to a list of dicts."
    )


def _pictures(values: np.ndarray, labels: Any) -> list[Row]:
    return [
        {"label": None if labels is None else to_picture(labels[index]), "prediction": to_picture(each), "loss": None}
        for index, each in enumerate(values)
    ]


def _show_value(value: np.ndarray) -> Any:
    if value.dtype.kind in "OSU":
        texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in value.reshape(-1)]
        return " ".join(texts)
    if is_picture(value):
        return to_picture(value)
    return value.item() if value.size == 1 else format_numbers(value, 4)
