"""A raw ``datasets.Dataset`` (texts, words with tags, questions with contexts, images) as a model's inputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.data.limits import longest_input
from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.data.roles import LABEL_ALIASES
from tf_hfwb.errors import DataError
from tf_hfwb.samples.task import ClassNames, Example
from tf_hfwb.samples.texts import special_ids

_UNLIMITED_LENGTH = 512  # Of models and tokenizers that set no limit, as T5.
MASKED_SHARE = 0.15  # As in BERT's pretraining.
# The columns of text of well-known data sets, by name; any other has at most two.
_KNOWN_TEXTS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
    ("sentence",),
    ("text",),
)
_LABELS = ("labels", *LABEL_ALIASES)
_TAGS = (*_LABELS, "ner_tags", "pos_tags", "chunk_tags", "tags")
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
        self._names = list(names)
        self._input_columns = input_columns
        self._model_name = type(model).__name__
        self._arguments = set(inspect.signature(model.call).parameters)
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
            "masked": self._masked,
            "continuation": self._continuation,
            "rewriting": self._rewriting,
        }.get(self._kind, self._classification)
        encoded, examples = prepare(data, rows)
        import datasets

        columns = {name: [row[name] for row in encoded] for name in (encoded[0] if encoded else ())}
        accepted = {*self._arguments, "labels", "start_positions", "end_positions"}
        return Tokenized(datasets.Dataset.from_dict({n: v for n, v in columns.items() if n in accepted}), examples)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def _classification(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        image = self._image_column(data)
        if image is not None:
            return self._images(image, rows)
        names = self._text_columns(data, 2)
        encoded, examples = [], []
        for row in rows:
            texts = [str(row[name]) for name in names]
            tokens = self._tokens(*texts)
            encoded.append({**tokens.inputs, **self._label(row)})
            examples.append(Example(dict(zip(names, tokens.seen(texts), strict=True))))
        return encoded, examples

    def _images(self, column: str, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        images = [np.asarray(row[column].convert("RGB")) for row in rows]
        pixels = self._process(images, return_tensors="np")["pixel_values"]
        encoded = [{"pixel_values": value, **self._label(row)} for value, row in zip(pixels, rows, strict=True)]
        return encoded, [Example({"image": image.astype(np.uint8)}) for image in images]

    def _tags(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        words = self._column(data, ("tokens", "words"), "the words of each text")
        tags = next((name for name in _TAGS if name in data.column_names), None)
        encoded, examples = [], []
        for row in rows:
            tokens = self._process(row[words], is_split_into_words=True, **self._truncation())
            inputs = {name: value for name, value in tokens.items() if name != "offset_mapping"}
            if tags is not None:
                numbers = [self._number(tag, tags) for tag in row[tags]]
                inputs["labels"] = _of_first_tokens(tokens.word_ids(), numbers)
            encoded.append(inputs)
            examples.append(Example({"text": " ".join(row[words])}))
        return encoded, examples

    def _answers(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        self._must_be_fast("where each token lies in the context")
        for name in ("question", "context"):
            self._column(data, (name,), f"the {name}")
        encoded, examples = [], []
        for row in rows:
            options = self._truncation(second_only=True)
            tokens = self._process(row["question"], row["context"], return_offsets_mapping=True, **options)
            offsets = [
                tuple(offset) if part == 1 else (0, 0)
                for offset, part in zip(tokens["offset_mapping"], tokens.sequence_ids(), strict=True)
            ]
            inputs = {name: value for name, value in tokens.items() if name != "offset_mapping"}
            if "answers" in row:
                inputs["start_positions"], inputs["end_positions"] = _places(row["answers"], offsets)
            encoded.append(inputs)
            seen = row["context"][: max(end for _, end in offsets)]
            context = seen if len(seen.rstrip()) == len(row["context"].rstrip()) else seen + _CUT
            examples.append(Example({"question": row["question"], "context": context}, row["context"], offsets))
        return encoded, examples

    def _masked(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        (name,) = self._text_columns(data, 1)
        random = np.random.default_rng(0)
        special = special_ids(self._process)
        encoded, examples = [], []
        for row in rows:
            inputs = dict(self._tokens(str(row[name])).inputs)
            ids = list(inputs["input_ids"])
            places = [place for place, one in enumerate(ids) if one not in special]
            number = min(len(places), max(1, round(MASKED_SHARE * len(places))))
            inputs["labels"] = [IGNORED_LABEL] * len(ids)
            for place in random.choice(places, number, replace=False) if places else ():
                inputs["labels"][place], ids[place] = ids[place], self._process.mask_token_id
            inputs["input_ids"] = ids
            kept = [one for one in ids if one not in special or one == self._process.mask_token_id]
            encoded.append(inputs)
            examples.append(Example({"text": self._process.decode(kept).strip()}))
        return encoded, examples

    def _continuation(self, data: Any, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Example]]:
        (name,) = self._text_columns(data, 1)
        encoded, examples = [], []
        for row in rows:
            inputs = dict(self._tokens(str(row[name])).inputs)
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
            tokens = self._tokens(str(source))
            inputs = dict(tokens.inputs)
            if target:
                inputs["labels"] = self._process(text_target=str(target[0]), **self._truncation())["input_ids"]
            encoded.append(inputs)
            examples.append(Example({"source": tokens.seen([str(source)])[0]}))
        return encoded, examples

    # -- parts -----------------------------------------------------------------------------------------------------

    def _tokens(self, *texts: str) -> _Tokens:
        encoding = self._process(*texts, **self._truncation(), return_offsets_mapping=self._is_fast)
        inputs = dict(encoding)
        offsets = inputs.pop("offset_mapping", None)
        parts = () if offsets is None else encoding.sequence_ids()
        return _Tokens(inputs, offsets, parts, len(inputs["input_ids"]) >= self._max_length)

    def _truncation(self, *, second_only: bool = False) -> dict[str, Any]:
        return {"truncation": "only_second" if second_only else True, "max_length": self._max_length}

    def _label(self, row: Mapping[str, Any]) -> dict[str, Any]:
        name = next((name for name in _LABELS if name in row), None)
        if name is None or row[name] is None:
            return {}
        value = row[name]
        is_list = isinstance(value, (list, tuple))
        return {"labels": [float(one) for one in value] if is_list else self._number(value, name)}

    def _number(self, value: Any, column: str) -> Any:
        if not isinstance(value, str):
            return value
        if value in self._names:
            return self._names.index(value)
        raise DataError(
            f"The column {column!r} has {value!r}, which is no class of {self._model_name}. Expected a number or "
            f"one of {', '.join(map(repr, self._names)) or 'its class_names'}. Set model.config.id2label, or "
            "pass class_names."
        )

    def _text_columns(self, data: Any, number: int) -> list[str]:
        if self._input_columns is not None:
            self._check(data, self._input_columns)
            return list(self._input_columns)[:number]
        there = [name for name, feature in data.features.items() if getattr(feature, "dtype", None) == "string"]
        there = [name for name in there if name not in _LABELS]
        if self._kind == "classification":
            for known in _KNOWN_TEXTS:
                if set(known) <= set(there):
                    return list(known)
        if number == 1 and "text" in there:
            return ["text"]
        if 1 <= len(there) <= number:
            return there
        raise DataError(
            f"Which of the columns {data.column_names} the input of {self._model_name} is cannot be told. Expected "
            f"{'one column' if number == 1 else 'one or two columns'} of text. Pass input_columns=[...], or a "
            "tokenised data set."
        )

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

    def seen(self, texts: Sequence[str]) -> list[str]:
        """What of each text has not been cut off; a tokenizer without offsets does not tell."""
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


def _of_first_tokens(words: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    """The tag of each word at its first token, -100 elsewhere."""
    before = [None, *words[:-1]]
    return [
        IGNORED_LABEL if word is None or word == last else tags[word] for word, last in zip(words, before, strict=True)
    ]


def _places(answers: Mapping[str, Any], offsets: Sequence[Sequence[int]]) -> tuple[int, int]:
    """The first and the last token of the first answer; (0, 0) if there is none, or it has been cut off."""
    if not answers["text"]:
        return 0, 0
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    inside = [place for place, (first, last) in enumerate(offsets) if last > begin and first < end and last > first]
    if not inside or offsets[inside[-1]][1] < end:
        return 0, 0
    return inside[0], inside[-1]
