"""Token classification: each word with its tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.evaluation.tables.decoded_texts import Decoder, mask_of
from tf_hfwb.evaluation.tables.table_task import ClassNames, Example, Row, Task, negative_log, softmax

OUTSIDE = "O"  # The tag of words that are none, which needs no mark.


class Tags(Task):
    """A tag for each word; tokens labelled -100 belong to the word before them.

    Args:
        processing_class: The tokenizer.
        names: Of the tags.
    """

    def __init__(self, processing_class: Any, names: ClassNames) -> None:
        self._decoder = Decoder(processing_class)
        self._names = names

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """The text."""
        return Example({"text": " ".join(self._decoder.texts(inputs, row))})

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """The text with the tags of the label, and with those of the prediction."""
        rows: list[Row] = []
        for index, (logits, example) in enumerate(zip(outputs["logits"], examples, strict=True)):
            self._names.check(logits.shape[-1])
            words = self._words(inputs, labels, index) if example.words is None else example.words
            probabilities = softmax(logits)
            heads = [place for _, place in words]
            predicted = probabilities[heads].argmax(axis=-1)
            row: Row = {
                "label": None,
                "prediction": self._format_tags(words, predicted) + example.end,
                "probability": float(probabilities[heads, predicted].mean()) if words else None,
                "loss": None,
                "correct": None,
            }
            if labels is not None and words:
                tags = labels[index][heads]
                known = (tags >= 0) & (tags < logits.shape[-1])
                if known.any():
                    row["label"] = self._format_tags(words, tags) + example.end
                    row["loss"] = float(negative_log(probabilities[heads, tags * known])[known].mean())
                    row["correct"] = bool((predicted == tags)[known].all())
            rows.append(row)
        return rows

    def _words(self, inputs: Any, labels: Any, row: int) -> list[tuple[str, int]]:
        """Each word with the position of its labelled token, the first one; without labels each token is a word."""
        words: list[list[int]] = []
        for place in np.flatnonzero(mask_of(inputs)[row]):
            if self._decoder.is_special(inputs["input_ids"][row][place]):
                continue
            if labels is None or labels[row][place] != IGNORED_LABEL:
                words.append([int(place)])
            elif words:
                words[-1].append(int(place))
        return [(self._decoder.text(inputs["input_ids"][row][places]), places[0]) for places in words]

    def _format_tags(self, words: Sequence[tuple[str, int]], tags: Sequence[Any]) -> str:
        shown = []
        for (word, _), tag in zip(words, tags, strict=True):
            name = self._names[tag]
            shown.append(word if name == OUTSIDE or tag == IGNORED_LABEL else f"{word} [{name}]")
        return " ".join(shown)
