"""Which columns are inputs, which are labels, and how a batch is arranged for the model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.keras_compat import NotAKerasModelError, host_of, is_of_transformers, label_arguments

LABEL_ALIASES = ("label", "label_ids")
DEFAULT_LABELS = ("labels", "start_positions", "end_positions")
TOKENISE_ADVICE = (
    'Tokenise first, with dataset.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True); or '
    "compute rows as they are read, with dataset.with_transform(...), as for images; or pass "
    "remove_unused_columns=False with a data_collator that reads the raw columns."
)


@dataclass(frozen=True)
class Selection:
    """The columns of a batch by their role.

    Attributes:
        inputs: Input columns.
        labels: Label columns, with the name under which the model knows each.
        is_bare: Give a single input to the model as a tensor instead of a dict of one.
    """

    inputs: tuple[str, ...]
    labels: Mapping[str, str]
    is_bare: bool

    def arrange(self, batch: Mapping[str, Any]) -> Any:
        """``(inputs, labels)``, or the inputs alone when there are no labels."""
        inputs: Any = {name: batch[name] for name in self.inputs}
        if self.is_bare and len(self.inputs) == 1:
            inputs = batch[self.inputs[0]]
        if not self.labels:
            return inputs
        labels: Any = {target: batch[name] for name, target in self.labels.items()}
        return inputs, (next(iter(labels.values())) if len(labels) == 1 else labels)


@dataclass(frozen=True)
class Roles:
    """Which columns the model and the user take for inputs and labels.

    Attributes:
        inputs: Names of the model's inputs, None when the model does not tell.
        labels: Names of label columns.
        needs_all: Every input must be present (Keras functional models).
        is_bare: A single input is given to the model as a tensor.
        removes_unused: Columns that are neither input nor label are left out.
    """

    inputs: tuple[str, ...] | None
    labels: tuple[str, ...]
    needs_all: bool
    is_bare: bool
    removes_unused: bool

    @classmethod
    def of(cls, model: Any, label_names: Sequence[str] | None, remove_unused_columns: bool) -> Roles:
        """Ask the model: transformers' TF classes through their ``call``, Keras models through their inputs."""
        if is_of_transformers(model):
            labels = tuple(label_arguments(model)) or DEFAULT_LABELS
            inputs: tuple[str, ...] | None = _named_inputs(model, labels)
            needs_all, is_bare = False, False
        else:
            inputs = tuple(tensor.name for tensor in getattr(model, "inputs", None) or ()) or None
            labels = tuple(name for name in DEFAULT_LABELS if name not in (inputs or ()))
            is_sequential = _is_sequential(model)
            needs_all = inputs is not None and not is_sequential
            is_bare = is_sequential or (needs_all and len(inputs or ()) == 1 and not isinstance(model.input, dict))
        if label_names is not None:
            _check_label_names(label_names, inputs)
            labels = tuple(label_names)
        return cls(inputs, labels, needs_all, is_bare, remove_unused_columns)

    def accepts(self, name: str) -> bool:
        """Whether a column of that name may be added for the model."""
        return name in self.inputs if self.inputs is not None else not self.is_bare

    def columns_for_collator(self, columns: Mapping[str, bool]) -> list[str]:
        """The columns that a data collator gets to see; a collator may still drop, rename or add some."""
        if not self.removes_unused or self.is_bare:
            return list(columns)
        labels = self.label_columns(columns)
        # It is not an input, but DataCollatorForLanguageModeling reads it, and does not mask special tokens.
        known = (*self.inputs, "special_tokens_mask") if self.inputs is not None else columns
        inputs = [name for name, is_numeric in columns.items() if name in known and name not in labels and is_numeric]
        if not inputs:
            self._raise_no_inputs(columns)
        return [*inputs, *labels]

    def select(self, columns: Mapping[str, bool]) -> Selection:
        """Choose among ``columns`` (name to whether it holds numbers).

        Raises:
            DataError: No column is an input, an input is missing, two columns are the same label, or a chosen column
                holds no numbers.
        """
        labels = self.label_columns(columns)
        others = {name: is_numeric for name, is_numeric in columns.items() if name not in labels}
        if not self.removes_unused:
            inputs = tuple(others)
        elif self.inputs is None:
            inputs = tuple(name for name, is_numeric in others.items() if is_numeric)
        else:
            inputs = self._match(self.inputs, others)
        if not inputs:
            self._raise_no_inputs(columns)
        for name in (*inputs, *labels):
            if not columns[name]:
                advice = (
                    f"Encode it, for example with dataset.class_encode_column({name!r})."
                    if name in labels
                    else f"Encode it, or drop it with dataset.remove_columns({name!r})."
                )
                role = "Label column" if name in labels else "Column"
                raise DataError(f"{role} {name!r} does not hold numbers. Expected integers, floats or bools. {advice}")
        return Selection(inputs, labels, self.is_bare)

    def _match(self, inputs: tuple[str, ...], others: Mapping[str, bool]) -> tuple[str, ...]:
        matched = tuple(name for name in others if name in inputs)
        if not matched and self.is_bare:
            # Keras invents the name of a single input ("keras_tensor_3"), so a single column is meant for it.
            matched = tuple(name for name, is_numeric in others.items() if is_numeric)
            if len(matched) > 1:
                raise DataError(
                    f"The model has one input, {inputs[0]!r}, and the data the columns {list(matched)}. Expected a "
                    f"column of that name, or one column besides the labels. Rename or remove columns."
                )
        missing = [name for name in inputs if name not in matched]
        if matched and missing and self.needs_all and not self.is_bare:
            raise DataError(
                f"The model's inputs {missing} are missing in the columns {list(others)}. Expected one column for each "
                f"of {list(inputs)}. Add them, or rename columns with dataset.rename_column."
            )
        return matched

    def label_columns(self, columns: Iterable[str]) -> dict[str, str]:
        """The label columns, each with the name under which the model knows it."""
        found: dict[str, str] = {}
        for name in columns:
            target = name
            if name in LABEL_ALIASES and name not in self.labels and "labels" in self.labels:
                target = "labels"
            if target not in self.labels:
                continue
            if target in found.values():
                raise DataError(
                    f"Columns {[*found, name]} are the same label, {target!r}. Expected one of them. "
                    f"Remove the others with dataset.remove_columns, or name the labels with label_names."
                )
            found[name] = target
        return found

    def _raise_no_inputs(self, columns: Mapping[str, bool]) -> None:
        accepted = list(self.inputs) if self.inputs is not None else "columns of numbers besides the labels"
        raise DataError(f"No column is a model input: {list(columns)}. Expected some of {accepted}. {TOKENISE_ADVICE}")


def _named_inputs(model: Any, labels: tuple[str, ...]) -> tuple[str, ...]:
    parameters = inspect.signature(model.call).parameters.values()
    # Arguments annotated as bool are switches (training, return_dict), not data.
    return tuple(p.name for p in parameters if p.name not in labels and "bool" not in str(p.annotation))


def _check_label_names(label_names: Sequence[str], inputs: tuple[str, ...] | None) -> None:
    both = [name for name in label_names if name in (inputs or ())]
    if both:
        raise SettingError(
            "label_names",
            list(label_names),
            expected=f"columns that are not inputs of the model, as {', '.join(both)} is",
            advice="include_for_metrics=['inputs'] gives compute_metrics the inputs, too.",
        )


def _is_sequential(model: Any) -> bool:
    try:
        keras = host_of(model).keras
    except (NotAKerasModelError, SettingError):
        return False
    return isinstance(model, keras.Sequential)
