"""``PredictedSamples``: samples of an evaluation set with a model's predictions, as the rows of a table."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.data import evaluation_batches
from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.batch_parts import num_samples
from tf_hfwb.evaluation.tables.classification import Classification, MultiLabel, Regression
from tf_hfwb.evaluation.tables.keras_models import Arrays
from tf_hfwb.evaluation.tables.label_values import as_sets, is_missing
from tf_hfwb.evaluation.tables.language_models import Continuation, MaskedWords, Rewriting, mask_words
from tf_hfwb.evaluation.tables.question_answering import Answers
from tf_hfwb.evaluation.tables.raw_columns import class_names as dataset_class_names
from tf_hfwb.evaluation.tables.raw_columns import holds_ids, label_column
from tf_hfwb.evaluation.tables.raw_samples import GeneratedTexts, RawSamples
from tf_hfwb.evaluation.tables.sample_choice import choose_samples, take_first
from tf_hfwb.evaluation.tables.table_task import ClassNames, Example, Row, Task
from tf_hfwb.evaluation.tables.token_classification import Tags
from tf_hfwb.evaluation.tables.tokenized_samples import Tokenizing, is_raw
from tf_hfwb.evaluation.task_generation import generator_for
from tf_hfwb.evaluation.text_generation import Generator
from tf_hfwb.keras_compat import host_of, is_of_transformers, prepares_inputs, preserve_metrics, split_batch
from tf_hfwb.keras_compat.hub_tasks import generates_text, is_prepared, prepare_inputs
from tf_hfwb.keras_compat.transformers_private import class_names

# The tasks of transformers' models, by the names of its lists of classes.
_KINDS = {
    "QUESTION_ANSWERING": "answers",
    "TOKEN_CLASSIFICATION": "tags",
    "MASKED_LM": "masked",
    "CAUSAL_LM": "continuation",
    "SEQ_TO_SEQ_CAUSAL_LM": "rewriting",
    "SEQUENCE_CLASSIFICATION": "classification",
    "IMAGE_CLASSIFICATION": "classification",
    "MULTIPLE_CHOICE": "classification",
    "NEXT_SENTENCE_PREDICTION": "classification",
}

UserRows = Callable[[Any, Any, Any], Sequence[Mapping[str, Any]]]


class PredictedSamples:
    """A few samples, chosen once, and the model's predictions for them, as often as they are asked for.

    Args:
        model: A model of transformers, or a compiled one of tf_keras or Keras 3.
        data: A raw or a tokenised ``datasets.Dataset``, a batched ``tf.data.Dataset``, or arrays.
        processing_class: The tokenizer or image processor.
        number: The number of samples.
        batch_size: The number of samples in a batch.
        class_names: Names instead of those that the model or the data set has; in order, or by number.
        input_columns: The columns of a raw data set that are the input, where their names do not tell.
        rows: A function that replaces the task's own columns: from inputs, labels and predictions of a batch to a list
            of dicts.
        generation: Options of :class:`~tf_hfwb.evaluation.text_generation.Generator`.

    Raises:
        DataError: The data cannot be used, or the model's task has no columns.
        SettingError: When rows are made: ``class_names`` are too few.
    """

    def __init__(
        self,
        model: Any,
        data: Any,
        *,
        processing_class: Any = None,
        number: int = 100,
        batch_size: int = 32,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        input_columns: Sequence[str] | None = None,
        rows: UserRows | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self._rows = rows
        self._is_transformers = is_of_transformers(model)
        self._is_raw = False
        self._kind = kind = _kind_of(model) if self._is_transformers else "arrays"
        data = choose_samples(data, number)
        self._has_names = class_names is not None
        known = class_names if self._has_names else _class_names(model, data, kind)
        names = ClassNames(known, must_be_all=self._has_names)
        examples: list[Example] = []
        if self._is_transformers and is_raw(data, model) and len(data):
            tokenized = Tokenizing(model, kind or "", processing_class, names, input_columns)(data)
            data, examples = tokenized.dataset, tokenized.examples
        column = label_column(data, kind)
        self._are_ids = column is not None and holds_ids(data, column)
        padding = _padding_right(processing_class) if kind == "continuation" else processing_class
        data = _drop_missing_labels(data, column)
        # Not checked for the loss: labels may be one-hot where it takes classes, and are shown all the same.
        batches = evaluation_batches(data, batch_size, model=model, processing_class=padding, is_for_loss=False)
        # As arrays: the samples that are shown on another thread must be those that the model gets.
        self._batches = [self._split(batch) for batch in take_first(batches.dataset.as_numpy_iterator(), number)]
        if not self._batches:
            raise DataError(
                "The data for the table has no samples. Expected at least one. Check the split and filters."
            )
        if kind == "masked" and rows is None:
            self._batches = mask_words(self._batches, processing_class)
        self._task = self._make_task(kind, processing_class, names, dict(generation or {}))
        self._examples = self._make_examples(examples)
        self._forward: Any = None

    def _split(self, batch: Any) -> tuple[Any, Any]:
        inputs, labels, _ = split_batch(self.model, batch)
        if not self._is_transformers:
            self._is_raw = prepares_inputs(self.model) and not is_prepared(self.model, inputs)
            return inputs, labels
        if not isinstance(inputs, Mapping):
            inputs = {self.model.main_input_name: inputs}
        texts = [name for name, value in inputs.items() if np.asarray(value).dtype.kind in "OSU"]
        if texts:
            raise DataError(
                f"The data holds texts, and {type(self.model).__name__} takes the numbers of tokens. Expected a "
                "datasets.Dataset with the texts and the tokenizer in processing_class, or tokenised data. Put the "
                "texts into datasets.Dataset.from_dict({'text': [...], 'label': [...]})."
            )
        is_of_classes = self._kind == "classification" and self._rows is None
        return inputs, self._remove_padding(labels) if is_of_classes else labels

    def _remove_padding(self, labels: Any) -> Any:
        """Turn sets of classes, given as padded lists of their numbers, into a value for each class."""
        problem = self.model.config.problem_type
        is_number = problem == "regression" or self.model.config.num_labels == 1
        if is_number or not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "iub":
            return labels
        if labels.shape[1] == 1 and problem != "multi_label_classification":
            return labels[:, 0]
        sets = [[int(one) for one in row if one != IGNORED_LABEL] for row in labels]
        return np.asarray(as_sets(sets, self.model.config.num_labels, are_ids=self._are_ids), np.float32)

    def _make_examples(self, examples: list[Example]) -> list[list[Example]]:
        shown = []
        for inputs, labels in self._batches:
            rows = range(num_samples(inputs))
            if self._rows is not None:
                shown.append([Example({}) for _ in rows])
                continue
            made = [self._task.example(inputs, labels, row) for row in rows]
            shown.append(examples[: len(made)] or made)
            del examples[: len(made)]
        flat = [example for batch in shown for example in batch]
        names = dict.fromkeys(name for example in flat for name in example.columns)
        for example in flat:  # A single text among pairs has an empty second one.
            example.columns = {name: example.columns.get(name, "") for name in names}
        return shown

    # -- the model -------------------------------------------------------------------------------------------------

    def predict(self) -> list[Mapping[str, np.ndarray]]:
        """The model's predictions now, batch by batch. They do not disturb a training that is running."""
        with preserve_metrics(self.model):
            return [
                {**self._outputs(inputs, labels), **({} if self._rows else self._task.generate(inputs))}
                for inputs, labels in self._batches
            ]

    def _outputs(self, inputs: Any, labels: Any) -> Mapping[str, np.ndarray]:
        if self._is_transformers:
            if labels is None and self._rows is None and self._task.only_generates:
                return {}
            if self._forward is None:
                self._forward = self._compile_forward()
            return {name: np.asarray(value) for name, value in self._forward(inputs, labels).items()}
        if self._is_raw and self._rows is None and self._task.only_generates:
            return {}
        prepared = prepare_inputs(self.model, inputs) if self._is_raw else inputs
        outputs = host_of(self.model).predict_on_batch(prepared)
        number = num_samples(inputs)
        # Under a distribution strategy Keras 3 lets every replica predict the whole batch.
        if isinstance(outputs, Mapping):
            return {name: np.asarray(value)[:number] for name, value in outputs.items()}
        if isinstance(outputs, (list, tuple)):
            return {f"output_{index}": np.asarray(value)[:number] for index, value in enumerate(outputs)}
        return {"output": np.asarray(outputs, dtype=np.float32)[:number]}

    def _compile_forward(self) -> Any:
        import tensorflow as tf

        reduce = _all_outputs if self._rows is not None else self._task.reduce

        def forward(inputs: Any, labels: Any) -> Any:
            more = {}
            is_decoded = self._kind in ("rewriting", None) and self.model.config.is_encoder_decoder
            if labels is not None and is_decoded and not isinstance(labels, Mapping):
                more = {"labels": labels}  # The model makes the decoder's inputs of them.
            reduced = reduce(inputs, labels, self.model({**inputs, **more}, training=False))
            return {n: tf.cast(v, tf.float32) if v.dtype.is_floating else v for n, v in reduced.items()}

        return tf.function(forward, reduce_retracing=True)

    # -- the table -------------------------------------------------------------------------------------------------

    def rows(self, predictions: Sequence[Mapping[str, np.ndarray]]) -> list[Row]:
        """The table's rows from what :meth:`predict` returned; may be called on any thread.

        Raises:
            DataError: The user's function does not return a list of dicts with the same keys.
        """
        rows: list[Row] = []
        for (inputs, labels), outputs, examples in zip(self._batches, predictions, self._examples, strict=True):
            if self._rows is not None:
                value = next(iter(outputs.values())) if len(outputs) == 1 else outputs
                rows += _check_rows(self._rows(inputs, labels, value), rows)
                continue
            made = self._task.rows(inputs, labels, outputs, examples)
            for example, row in zip(examples, made, strict=True):
                rows.append({"example": len(rows), **example.columns, **row})
        return rows

    def _make_task(
        self, kind: str | None, processing_class: Any, names: ClassNames, generation: dict[str, Any]
    ) -> Task:
        if kind == "arrays":
            if self._is_raw and generates_text(self.model) and self._rows is None:
                return GeneratedTexts(generator_for(self.model, **generation))
            loss = host_of(self.model).compiled_loss()
            return (RawSamples if self._is_raw else Arrays)(
                names, loss.of_each, loss.name, loss.gives_logits, are_classes=self._has_names
            )
        if kind == "answers":
            return Answers(processing_class)
        if kind == "tags":
            return Tags(processing_class, names)
        if kind == "masked":
            return MaskedWords(processing_class)
        if kind in ("continuation", "rewriting") and self._rows is None:
            generate = Generator(self.model, **generation)
            return (Continuation if kind == "continuation" else Rewriting)(processing_class, generate)
        if kind is None and self._rows is None:
            raise DataError(
                f"{type(self.model).__name__} has no table of its own. Expected a model of one of the tasks "
                f"{', '.join(sorted(set(_KINDS.values())))}. Pass rows=, a function from inputs, labels and "
                "predictions to a list of dicts."
            )
        return self._classification_task()(processing_class, names)

    def _classification_task(self) -> type[Classification | MultiLabel | Regression]:
        configuration, labels = self.model.config, self._batches[0][1]
        loss = host_of(self.model).compiled_loss().name
        is_float = isinstance(labels, np.ndarray) and labels.dtype.kind == "f"
        if "categorical" in loss and configuration.num_labels > 1:
            return Classification
        if configuration.problem_type == "multi_label_classification":
            return MultiLabel
        if configuration.problem_type == "regression" or configuration.num_labels == 1:
            return Regression
        return MultiLabel if is_float and labels.ndim == 2 else Classification


def _drop_missing_labels(data: Any, column: str | None) -> Any:
    """Remove the column of labels if they are all missing: -1, as in GLUE's test splits."""
    if column is None or not len(data) or data.format["type"] == "custom":
        return data
    if not all(is_missing(value) for value in data[column]):
        return data
    return data.remove_columns(column)


def _kind_of(model: Any) -> str | None:
    classes = [base.__name__ for base in type(model).__mro__]
    for name, kind in _KINDS.items():
        if class_names(f"MODEL_FOR_{name}").intersection(classes):
            return kind
    return None


def _padding_right(tokenizer: Any) -> Any:
    """The tokenizer with padding on the right, as padding on the left would shift a decoder's positions."""
    if getattr(tokenizer, "padding_side", "right") == "right":
        return tokenizer
    tokenizer = copy.copy(tokenizer)
    tokenizer.padding_side = "right"
    return tokenizer


def _class_names(model: Any, data: Any, kind: str | None) -> list[str] | None:
    """The names of the classes, from the model's configuration or else from the data set."""
    configuration = getattr(model, "config", None)
    names = getattr(configuration, "id2label", None) or {}
    if names and not all(name == f"LABEL_{number}" for number, name in names.items()):
        return [names[number] for number in sorted(names)]
    number = getattr(configuration, "num_labels", None)
    return dataset_class_names(data, kind, number) or [names[number] for number in sorted(names)] or None


def _all_outputs(inputs: Any, labels: Any, outputs: Any) -> dict[str, Any]:
    with contextlib.suppress(AttributeError):
        outputs = outputs.to_dict()
    return {n: v for n, v in outputs.items() if n != "loss" and v is not None and not isinstance(v, (list, tuple))}


def _check_rows(made: Any, before: Sequence[Row]) -> list[Row]:
    is_list = isinstance(made, Sequence) and all(isinstance(row, Mapping) and row for row in made)
    rows = [dict(row) for row in made] if is_list else []
    names = list((before or rows)[0]) if before or rows else []
    if not is_list or any(list(row) != names for row in rows):
        raise DataError(
            f"rows returned {str(made)[:200]!r}. Expected a list of dicts, all with the same keys"
            f"{f' {names}' if names else ''}: the columns of the table."
        )
    return rows
