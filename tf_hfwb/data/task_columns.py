"""Which columns a task of KerasHub takes, whose preprocessor makes its inputs of texts or images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb.data.column_roles import Roles
from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat.hub_tasks import generates_text, is_sequence_to_sequence

TEXT, IMAGE, NUMBERS = "text", "image", "numbers"

_SOURCE_AND_TARGET = ("encoder_text", "decoder_text")


@dataclass(frozen=True)
class TaskColumns:
    """The raw columns of a batch by their role.

    Attributes:
        inputs: Columns of texts, or one of images.
        labels: Label columns, with the name under which the model knows each.
        is_named: The preprocessor takes a dict of them, instead of one column or a tuple.
    """

    inputs: tuple[str, ...]
    labels: Mapping[str, str]
    is_named: bool

    def arrange(self, batch: Mapping[str, Any]) -> Any:
        """``(inputs, labels)``, or the inputs alone when there are no labels."""
        inputs: Any = {name: batch[name] for name in self.inputs}
        if not self.is_named:
            inputs = tuple(inputs.values()) if len(inputs) > 1 else batch[self.inputs[0]]
        if self.labels:
            labels = {target: batch[name] for name, target in self.labels.items()}
            return inputs, (next(iter(labels.values())) if len(labels) == 1 else labels)
        return (inputs,) if isinstance(inputs, tuple) else inputs  # A pair alone would be inputs and labels.


def task_columns(model: Any, roles: Roles, kinds: Mapping[str, str | None]) -> TaskColumns:
    """Choose among columns.

    Args:
        model: The task, with a preprocessor.
        roles: Which columns are labels.
        kinds: The kind of each column: ``"text"``, ``"image"``, ``"numbers"``, or None for another one.

    Raises:
        DataError: It cannot be told which columns are the input, or a label is none.
    """
    labels = roles.label_columns(kinds)
    for name in labels:
        if kinds[name] != NUMBERS:
            raise DataError(
                f"Label column {name!r} does not hold numbers. Expected integers or floats. Encode it, for example "
                f"with dataset.class_encode_column({name!r})."
            )
    texts = [name for name, kind in kinds.items() if kind == TEXT]
    images = [name for name, kind in kinds.items() if kind == IMAGE]
    if is_sequence_to_sequence(model):
        if set(_SOURCE_AND_TARGET) <= set(texts):
            return TaskColumns(_SOURCE_AND_TARGET, labels, is_named=True)
        raise _unclear(model, kinds, "columns of texts with the names encoder_text and decoder_text", texts)
    if model.preprocessor.image_converter is not None and len(images) == 1 and not texts:
        return TaskColumns((images[0],), labels, is_named=False)
    if len(texts) == 1 or (len(texts) == 2 and not generates_text(model)):
        return TaskColumns(tuple(texts), labels, is_named=False)
    expected = "one column of texts" if generates_text(model) else "one column of texts or images, or two of texts"
    raise _unclear(model, kinds, expected, texts or images)


def _unclear(model: Any, kinds: Mapping[str, str | None], expected: str, found: Sequence[str]) -> DataError:
    listed = {name: kind or "other" for name, kind in kinds.items()}
    return DataError(
        f"Which of the columns {listed} the preprocessor of {type(model).__name__} takes cannot be told: {len(found)} "
        f"could be meant. Expected {expected}, besides the labels; or all inputs of its graph, "
        f"{[tensor.name for tensor in model.inputs]}. Keep those with dataset.select_columns, or rename them."
    )
