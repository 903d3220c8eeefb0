"""Classification and regression of texts and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.evaluation.tables.decoded_texts import Decoder
from tf_hfwb.evaluation.tables.table_images import is_picture, unprocess_picture
from tf_hfwb.evaluation.tables.table_task import (
    ClassNames,
    Example,
    Row,
    Task,
    format_numbers,
    negative_log,
    sigmoid,
    softmax,
)

SHOWN_PLACES = 256


class _Labelled(Task):
    """A whole text, two of them, or an image has one label."""

    def __init__(self, processing_class: Any, names: ClassNames) -> None:
        self._processing_class = processing_class
        self._decoder = Decoder(processing_class)
        self._names = names

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """The text, the pair, the choices or the image."""
        if "pixel_values" in inputs:
            return Example({"image": unprocess_picture(inputs["pixel_values"][row], self._processing_class)})
        if inputs["input_ids"].ndim > 2:  # Several choices.
            choices = [
                self._decoder.texts(_choice(inputs, row), place) for place in range(len(inputs["input_ids"][row]))
            ]
            return Example({"text": "\n".join(" | ".join(choice) for choice in choices)})
        texts = self._decoder.texts(inputs, row)
        return Example(dict(zip(("text", "text_pair"), texts, strict=False)))


def _choice(inputs: Mapping[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    return {name: value[row] for name, value in inputs.items() if value.ndim > 2}


class Classification(_Labelled):
    """One class out of several."""

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """Classes; the label may have a value for each, as the categorical cross entropy takes it."""
        if labels is not None and labels.ndim == 2:
            labels = np.where(np.isnan(labels).any(axis=-1), IGNORED_LABEL, np.argmax(labels, axis=-1))
        return class_rows(softmax(outputs["logits"]), labels, self._names)


class MultiLabel(_Labelled):
    """Any number of classes."""

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """Sets of classes."""
        return multi_label_rows(sigmoid(outputs["logits"]), labels, self._names)


class Regression(_Labelled):
    """A number, or several."""

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """Numbers."""
        return regression_rows(outputs["logits"], labels)


def class_rows(probabilities: np.ndarray, labels: Any, names: ClassNames) -> list[Row]:
    """Rows of a classification.

    Args:
        probabilities: [batch, classes].
        labels: [batch], or None.
        names: Of the classes.
    """
    names.check(probabilities.shape[-1])
    rows: list[Row] = []
    for index, each in enumerate(probabilities):
        predicted = int(each.argmax())
        row: Row = {"label": None, "prediction": names[predicted], "probability": float(each[predicted])}
        row |= {"loss": None, "correct": None}
        if labels is not None:
            label = int(labels[index])
            is_class = 0 <= label < len(each)
            row["label"] = names[label] if is_class else None
            row["loss"] = float(negative_log(each[label])) if is_class else None
            row["correct"] = predicted == label if is_class else None
        rows.append(row)
    return rows


def multi_label_rows(probabilities: np.ndarray, labels: Any, names: ClassNames) -> list[Row]:
    """Rows of a classification into any number of classes.

    Args:
        probabilities: [batch, classes], of each class for itself.
        labels: The same shape, 0 or 1, NaN where it is unknown; or None.
        names: Of the classes.
    """
    names.check(probabilities.shape[-1])
    rows: list[Row] = []
    for index, each in enumerate(probabilities):
        predicted = each > 0.5
        sure = float(np.prod(np.where(predicted, each, 1 - each)))  # Of exactly this set.
        row: Row = {"label": None, "prediction": _join_names(predicted, names), "probability": sure}
        row |= {"loss": None, "correct": None}
        if labels is not None and not np.isnan(labels[index]).any():
            label = np.asarray(labels[index]) > 0.5
            row["label"] = _join_names(label, names)
            row["loss"] = float(np.mean(negative_log(np.where(label, each, 1 - each))))
            row["correct"] = bool((label == predicted).all())
        rows.append(row)
    return rows


def _join_names(chosen: np.ndarray, names: ClassNames) -> str:
    return ", ".join(names[number] for number in np.flatnonzero(chosen))


def regression_rows(values: np.ndarray, labels: Any) -> list[Row]:
    """Rows of a regression, with the squared error as loss.

    Args:
        values: [batch, numbers].
        labels: [batch] or [batch, numbers], NaN where it is unknown; or None.
    """
    rows: list[Row] = []
    for index, each in enumerate(values.reshape(len(values), -1)):
        row: Row = {"label": None, "prediction": _number(each), "loss": None}
        if labels is not None and not np.isnan(labels[index]).any():
            label = np.asarray(labels[index], np.float64).reshape(-1)
            row["label"] = _number(label)
            row["loss"] = float(np.mean((each - label) ** 2))
        rows.append(row)
    return rows


def _number(values: np.ndarray) -> Any:
    return float(values[0]) if len(values) == 1 else format_numbers(values, 6)


def place_rows(probabilities: np.ndarray, labels: Any, names: ClassNames, *, as_pictures: bool = False) -> list[Row]:
    """Rows of a classification of each place of a sample: the words of a text, the pixels of an image.

    Args:
        probabilities: [batch, ..., classes].
        labels: [batch, ...]; places without a class are left out. Or None.
        names: Of the classes.
        as_pictures: Show the numbers of the classes as an image, dark to bright, where they are one.
    """
    number = probabilities.shape[-1]
    names.check(number)
    rows: list[Row] = []
    for index, each in enumerate(probabilities):
        predicted = each.argmax(axis=-1)
        is_map = as_pictures and is_picture(predicted)
        row: Row = {
            "label": None,
            "prediction": _map(predicted, number) if is_map else _name_classes(predicted, names),
            "probability": float(each.max(axis=-1).mean()),
            "loss": None,
            "accuracy": None,
        }
        if labels is not None:
            label = np.asarray(labels[index])
            known = (label >= 0) & (label < number)
            row["label"] = _map(label * known, number) if is_map else _name_classes(label, names)
            if known.any():
                each_loss = negative_log(np.take_along_axis(each, (label * known)[..., None], axis=-1)[..., 0])
                row["loss"] = float(each_loss[known].mean())
                row["accuracy"] = float((predicted == label)[known].mean())
        rows.append(row)
    return rows


def _map(classes: np.ndarray, number: int) -> np.ndarray:
    return (classes * (255 // max(1, number - 1))).astype(np.uint8)


def _name_classes(classes: np.ndarray, names: ClassNames) -> str:
    flat = classes.reshape(-1)
    return " ".join(names[one] for one in flat[:SHOWN_PLACES]) + (" …" if flat.size > SHOWN_PLACES else "")
