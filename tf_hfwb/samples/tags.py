"""Token classification: each word with its tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.samples.task import ClassNames, Example, Row, Task, negative_log, softmax
from tf_hfwb.samples.texts import Decoder, mask_of

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
        for index, logits in enumerate(outputs["logits"]):
            words = self._words(inputs, labels, index)
            probabilities = softmax(logits)
            heads = [word[0] for word in words]
            predicted = probabilities[heads].argmax(axis=-1)
            row: Row = {
                "label": None,
                "prediction": self._tagged(inputs, index, words, predicted),
                "probability": float(probabilities[heads, predicted].mean()) if words else None,
                "loss": None,
                "correct": None,
            }
            if labels is not None and words:
                tags = labels[index][heads]
                row["label"] = self._tagged(inputs, index, words, tags)
                row["loss"] = float(negative_log(probabilities[heads, tags]).mean())
                row["correct"] = bool((predicted == tags).all())
            rows.append(row)
        return rows

    def _words(self, inputs: Any, labels: Any, row: int) -> list[list[int]]:
        """The places of each word's tokens, the labelled one first; without labels each token is a word."""
        words: list[list[int]] = []
        for place in np.flatnonzero(mask_of(inputs)[row]):
            if self._decoder.is_special(inputs["input_ids"][row][place]):
                continue
            if labels is None or labels[row][place] != IGNORED_LABEL:
                words.append([int(place)])
            elif words:
                words[-1].append(int(place))
        return words

    def _tagged(self, inputs: Any, row: int, words: Sequence[Sequence[int]], tags: Sequence[Any]) -> str:
        shown = []
        for places, tag in zip(words, tags, strict=True):
            word, name = self._decoder.text(inputs["input_ids"][row][list(places)]), self._names[tag]
            shown.append(word if name == OUTSIDE else f"{word} [{name}]")
        return " ".join(shown)
