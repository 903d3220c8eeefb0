"""A raw ``datasets.Dataset`` (texts, words with tags, questions with contexts, images) as a model's inputs."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.data.input_length import longest_input
from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.tables.label_values import as_sets, is_missing
from tf_hfwb.evaluation.tables.raw_columns import holds_ids, is_id, label_column, label_columns, text_columns
from tf_hfwb.evaluation.tables.table_task import ClassNames, Example

_logger = logging.getLogger("tf_hfwb")

_UNLIMITED_LENGTH = 512  # Of models and tokenizers that set no limit, as T5.
_CUT = " …"  # Behind a text of which the model does not see the end.


@dataclass
class Tokenized:
    """A raw data set, tokenised.

    Attributes:
        dataset: The model's inputs, and ``labels`` or the places of answers.
        examples: How each sample is shown: as it was.
    """

    dataset: Any
    examples: list[Example]


def is_raw(data: Any, model: Any) -> bool:
    """Whether a data set has not been prepared for a model of transformers."""
    columns = getattr(data, "column_names", None)
    return isinstance(columns, list) and getattr(model, "main_input_name", columns[0]) not in columns


class Tokenizing:
    """Prepares raw data sets for one model.

    Args:
        model: A model of transformers.
        kind: The task: ``"classification"``, ``"tags"``, ``"answers"``, ``"masked"``, ``"continuation"``,
            ``"rewriting"``.
        processing_class: The tokenizer, or the image processor.
        names: Of classes and tags, where labels are words.
        input_columns: The columns of text (or of the image), where their names do not tell.

    Raises:
        DataError: The data has no columns for the task, or there is no tokenizer.
    """

    def __init__(
        self, model: Any, kind: str, processing_class: Any, names: ClassNames, input_columns: Sequence[str] | None
    ) -> None:
        self._kind = kind
        self._names = names
        self._input_columns = input_columns
        self._model_name = type(model).__name__
        self._number_of_classes = int(model.config.num_labels)
        self._is_regression = model.config.problem_type == "regression" or self._number_of_classes == 1
        self._arguments = set(inspect.signature(model.call).parameters)
        self._label_name = "next_sentence_label" if "next_sentence_label" in self._arguments else "labels"
        if not callable(processing_class):
            raise DataError(
                f"processing_class={processing_class!r} cannot prepare raw data. Expected the tokenizer or the image "
                f"processor of {self._model_name}, because the data has no column {model.main_input_name!r}. Pass "
                "processing_class, or a tokenised data set."
            )
        self._process = processing_class
        self._is_fast = bool(getattr(processing_class, "is_fast", False))
        self._max_length = longest_input(model, processing_class) or _UNLIMITED_LENGTH

    def __call__(self, data: Any) -> Tokenized:
        """Prepare a data set."""
        rows = [data[index] for index in range(len(data))]
        prepare = {
            "tags": self._tags,
            "answers": self._answers,
            "masked": self._texts,
            "continuation": self._continuation,
            "rewriting": self._rewriting,
        }.get(self._kind, self._classification)
        encoded, examples = prepare(data, rows)
        import datasets

        columns = {name: [row[name] for row in encoded] for name in (encoded[0] if encoded else ())}
        accepted = {*self._arguments, self._label_name, "start_positions", "end_positions"}
        return Tokenized(datasets.Dataset.from_dict({n: v for n, v in columns.items() if n in accepted}), examples)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def _classification(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        image = self._image_column(data)
        if image is not None:
            return self._images(image, data, rows)
        names = self._text_columns(data, 2)
        labels = self._labels(data, rows, names)
        encoded, examples = [], []
        for row, label in zip(rows, labels, strict=True):
            texts = [_text(row[name]) for name in names]
            tokens = self._tokens(*texts)
            encoded.append({**tokens.inputs, **label})
            examples.append(Example(dict(zip(names, tokens.visible_texts(texts), strict=True))))
        return encoded, examples

    def _images(self, column: str, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        images = [np.asarray(row[column].convert("RGB")) for row in rows]
        pixels = self._process(images, return_tensors="np")["pixel_values"]
        labels = self._labels(data, rows, [column])
        encoded = [{"pixel_values": value, **label} for value, label in zip(pixels, labels, strict=True)]
        return encoded, [Example({"image": image.astype(np.uint8)}) for image in images]

    def _tags(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        self._must_be_fast("to which word each token belongs")
        words = self._column(data, ("tokens", "words"), "the words of each text")
        tags = label_column(data, self._kind, self._number_of_classes)
        if tags is None:
            self._say_unlabelled(data, [words])
        encoded, examples = [], []
        for row in rows:
            if not isinstance(row[words], (list, tuple)):
                raise DataError(
                    f"The column {words!r} has {row[words]!r}. Expected a list of words for {self._model_name}, with a "
                    "tag for each. Split the texts, or pass a tokenised data set."
                )
            texts = [_text(word) for word in row[words]]
            tokens = self._process(texts, is_split_into_words=True, **self._truncation())
            inputs = {name: value for name, value in tokens.items() if name != "offset_mapping"}
            firsts = _first_tokens(tokens.word_ids())
            if tags is not None:
                inputs["labels"] = [IGNORED_LABEL] * len(inputs["input_ids"])
                for word, tag in self._word_tags(row[tags], tags, texts):
                    if word in firsts:
                        inputs["labels"][firsts[word]] = tag
            encoded.append(inputs)
            is_cut = len(inputs["input_ids"]) >= self._max_length and max(firsts, default=-1) < len(texts) - 1
            seen = texts[: max(firsts, default=-1) + 1] if is_cut else texts
            end = _CUT if is_cut else ""
            places = [(texts[word], place) for word, place in firsts.items()]
            examples.append(Example({"text": " ".join(seen) + end}, words=places, end=end))
        return encoded, examples

    def _word_tags(self, tags: Any, column: str, words: Sequence[str]) -> list[tuple[int, int]]:
        """The number of each word with its tag; none without tags."""
        if tags is None:
            return []
        if not isinstance(tags, (list, tuple)) or len(tags) != len(words):
            raise DataError(
                f"The column {column!r} has {tags!r} for the {len(words)} words {list(words)}. Expected a tag for each "
                "word. Check how the data set was made."
            )
        return [(word, self._number(tag, column)) for word, tag in enumerate(tags) if tag is not None]

    def _answers(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        self._must_be_fast("where each token lies in the context")
        columns = ("question", "context") if self._input_columns is None else tuple(self._input_columns)
        if len(columns) != 2 or set(columns) - set(data.column_names):
            raise DataError(
                f"The data has the columns {data.column_names}, and {list(columns)} cannot be the input of "
                f"{self._model_name}. Expected the columns of the question and of the context. Pass "
                "input_columns=[question, context], or a tokenised data set."
            )
        is_labelled = any(row.get("answers") is not None for row in rows)
        encoded, examples = [], []
        for row in rows:
            question, text = (_text(row[name]) for name in columns)
            tokens = self._with_context(question, text)
            parts = tokens.sequence_ids()
            offsets = [
                tuple(offset) if part == 1 else (0, 0)
                for offset, part in zip(tokens["offset_mapping"], parts, strict=True)
            ]
            inputs = {name: value for name, value in tokens.items() if name != "offset_mapping"}
            if is_labelled:
                inputs["start_positions"], inputs["end_positions"] = _places(row["answers"], offsets)
            encoded.append(inputs)
            seen = _Tokens(inputs, tokens["offset_mapping"], parts, is_full=True).visible_texts([question, text])
            examples.append(Example(dict(zip(("question", "context"), seen, strict=True)), text, offsets))
        return encoded, examples

    def _with_context(self, question: str, context: str) -> Any:
        """Cut off the context's end, or both ends where the question alone is too long."""
        longest = len(self._process(question, "", verbose=False)["input_ids"])
        truncation = {"truncation": "only_second" if longest < self._max_length else "longest_first"}
        return self._process(question, context, return_offsets_mapping=True, **{**self._truncation(), **truncation})

    def _texts(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        (name,) = self._text_columns(data, 1)
        return [dict(self._tokens(_text(row[name])).inputs) for row in rows], []

    def _continuation(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        (name,) = self._text_columns(data, 1)
        encoded, examples = [], []
        for row in rows:
            inputs = dict(self._tokens(_text(row[name])).inputs)
            if not inputs["input_ids"]:  # Of an empty text GPT-2's tokenizer makes nothing.
                first = self._process.bos_token_id or self._process.eos_token_id or 0
                inputs = {name: [int(name == "attention_mask")] for name in inputs} | {"input_ids": [first]}
            encoded.append({**inputs, "labels": inputs["input_ids"]})
            ids = inputs["input_ids"]
            prompt = self._process.decode(ids[: (len(ids) + 1) // 2], skip_special_tokens=True)
            examples.append(Example({"prompt": prompt}))
        return encoded, examples

    def _rewriting(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        if "translation" in data.column_names and self._input_columns is None:
            pairs = [list(row["translation"].values())[:2] for row in rows]
        else:
            source, *target = self._text_columns(data, 2)
            pairs = [[row[source], *(row[name] for name in target)] for row in rows]
        encoded, examples = [], []
        for source, *target in pairs:
            tokens = self._tokens(_text(source))
            inputs = dict(tokens.inputs)
            if target:
                inputs["labels"] = self._process(text_target=_text(target[0]), **self._truncation())["input_ids"]
            encoded.append(inputs)
            examples.append(Example({"source": tokens.visible_texts([_text(source)])[0]}))
        return encoded, examples

    # -- parts -----------------------------------------------------------------------------------------------------

    def _tokens(self, *texts: str) -> _Tokens:
        encoding = self._process(*texts, **self._truncation(), return_offsets_mapping=self._is_fast)
        inputs = dict(encoding)
        offsets = inputs.pop("offset_mapping", None)
        parts = () if offsets is None else encoding.sequence_ids()
        return _Tokens(inputs, offsets, parts, len(inputs["input_ids"]) >= self._max_length)

    def _truncation(self) -> dict[str, Any]:
        return {"truncation": True, "max_length": self._max_length}

    def _labels(self, data: Any, rows: list[dict[str, Any]], inputs: Sequence[str]) -> list[dict[str, Any]]:
        """The labels of the rows, under the model's name for them; empty where no row has one."""
        column = label_column(data, self._kind, self._number_of_classes)
        if column is None:
            self._say_unlabelled(data, inputs)
            return [{} for _ in rows]
        values = [row[column] for row in rows]
        if not self._is_regression:
            values = [None if is_missing(value) else value for value in values]
        if all(value is None for value in values):
            _logger.warning("The table shows no labels: those in the column %r are all missing.", column)
            return [{} for _ in rows]
        if any(isinstance(value, (list, tuple)) for value in values):
            return [{self._label_name: value} for value in self._sets(data, column, values)]
        missing: Any = float("nan") if self._is_regression else IGNORED_LABEL
        return [{self._label_name: missing if v is None else self._number(v, column)} for v in values]

    def _sets(self, data: Any, column: str, values: Sequence[Any]) -> list[list[float]]:
        """Several classes, or numbers, of each row."""
        if self._is_regression:
            width = max(len(value) for value in values if value is not None)
            return [[float("nan")] * width if value is None else [float(one) for one in value] for value in values]
        are_words = any(isinstance(one, str) for value in values for one in value or ())
        numbers = [None if value is None else [self._number(one, column) for one in value] for value in values]
        return as_sets(numbers, self._number_of_classes, are_ids=are_words or holds_ids(data, column))

    def _say_unlabelled(self, data: Any, inputs: Sequence[str]) -> None:
        others = [name for name in data.column_names if name not in inputs and not is_id(name)]
        if others:
            _logger.warning(
                "The table shows no labels: none of the columns %s is one of %s, or the only one of "
                "datasets.ClassLabel. Name the column of the labels, as with dataset.rename_column(%r, 'label').",
                data.column_names,
                ", ".join(label_columns(self._kind)),
                others[0],
            )

    def _number(self, value: Any, column: str) -> Any:
        if not isinstance(value, str):
            return value
        number = self._names.number_of(value)
        if number is not None:
            return number
        raise DataError(
            f"The column {column!r} has {value!r}, which is no class of {self._model_name}. Expected a number or "
            f"one of {', '.join(map(repr, self._names)) or 'its class_names'}. Set model.config.id2label, or "
            "pass class_names."
        )

    def _text_columns(self, data: Any, number: int) -> list[str]:
        if self._input_columns is not None:
            self._check(data, self._input_columns)
            return list(self._input_columns)[:number]
        return text_columns(data, self._kind, self._model_name)

    def _image_column(self, data: Any) -> str | None:
        if self._input_columns is not None and "pixel_values" in self._arguments:
            self._check(data, self._input_columns)
            return self._input_columns[0]
        images = [name for name, feature in data.features.items() if type(feature).__name__ == "Image"]
        if not images and "input_ids" not in self._arguments:
            raise DataError(
                f"{self._model_name} takes images, and the columns {data.column_names} hold none. Expected a column of "
                "datasets.Image, or pixel_values."
            )
        return images[0] if images else None

    def _column(self, data: Any, names: Sequence[str], what: str) -> str:
        wanted = names if self._input_columns is None else self._input_columns
        found = [name for name in wanted if name in data.column_names]
        if not found:
            raise DataError(
                f"The data has the columns {data.column_names}. Expected {what}, in a column "
                f"{' or '.join(map(repr, wanted))}, for {self._model_name}. Rename the column, or tokenise the data."
            )
        return found[0]

    def _check(self, data: Any, names: Sequence[str]) -> None:
        missing = [name for name in names if name not in data.column_names]
        if missing:
            raise DataError(f"input_columns={list(names)}: {missing} are not among the columns {data.column_names}.")

    def _must_be_fast(self, what: str) -> None:
        if not self._is_fast:
            raise DataError(
                f"{type(self._process).__name__} does not tell {what}. Expected a fast tokenizer for raw data. Load it "
                "with use_fast=True, or pass a tokenised data set."
            )


@dataclass
class _Tokens:
    inputs: dict[str, Any]
    offsets: Sequence[Sequence[int]] | None
    parts: Sequence[int | None]
    is_full: bool

    def visible_texts(self, texts: Sequence[str]) -> list[str]:
        """The part of each text that was not cut off; a tokenizer without offsets does not tell."""
        if self.offsets is None:
            return list(texts)
        shown = []
        for number, text in enumerate(texts):
            ends = [end for (_, end), part in zip(self.offsets, self.parts, strict=True) if part == number]
            rest = text[max(ends, default=0) :]
            # Behind the last token there may also be what a tokenizer drops.
            is_cut = self.is_full and rest.strip()
            shown.append(text[: max(ends, default=0)] + _CUT if is_cut else text)
        return shown


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _first_tokens(words: Sequence[int | None]) -> dict[int, int]:
    """The position of each word's first token."""
    places: dict[int, int] = {}
    for place, word in enumerate(words):
        if word is not None:
            places.setdefault(word, place)
    return places


def _places(answers: Mapping[str, Any] | None, offsets: Sequence[Sequence[int]]) -> tuple[int, int]:
    """The first and last token of the first answer; (0, 0) without an answer, or if it was cut off; -100 if unknown."""
    if answers is None:
        return IGNORED_LABEL, IGNORED_LABEL
    if not answers["text"]:
        return 0, 0
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    inside = [place for place, (first, last) in enumerate(offsets) if last > begin and first < end and last > first]
    if not inside or offsets[inside[-1]][1] < end:
        return 0, 0
    return inside[0], inside[-1]
