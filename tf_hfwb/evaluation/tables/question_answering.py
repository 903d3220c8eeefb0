"""Question answering: the answer as a span of the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.evaluation.tables.decoded_texts import Decoder, mask_of
from tf_hfwb.evaluation.tables.table_task import Example, Row, Task, negative_log, softmax

MAX_ANSWER = 30  # Tokens, as in transformers' own example.


class Answers(Task):
    """An answer is a span of tokens; the span of the first token alone means that there is no answer.

    Args:
        processing_class: The tokenizer.
    """

    def __init__(self, processing_class: Any) -> None:
        self._decoder = Decoder(processing_class)
        self._may_be_none = False

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """Question and context."""
        self._may_be_none |= labels is not None and labels["end_positions"][row] == 0
        return Example(dict(zip(("question", "context"), self._decoder.texts(inputs, row), strict=False)))

    def reduce(self, inputs: Any, labels: Any, outputs: Any) -> Mapping[str, Any]:
        """The logits of where the answer begins and ends."""
        return {"start": outputs["start_logits"], "end": outputs["end_logits"]}

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """The spans as texts."""
        rows: list[Row] = []
        for index, example in enumerate(examples):
            there = mask_of(inputs)[index].astype(bool)
            # Padding is not an answer, whatever its logits.
            start, end = (softmax(np.where(there, outputs[name][index], -1e4)) for name in ("start", "end"))
            begin, last = self._best(start, end, self._context(inputs, index, there))
            row: Row = {
                "label": None,
                "prediction": self._answer(inputs, index, example, begin, last),
                "probability": float(start[begin] * end[last]),
                "loss": None,
                "correct": None,
            }
            if labels is not None:
                places = int(labels["start_positions"][index]), int(labels["end_positions"][index])
                if min(places) >= 0 and max(places) < len(start):
                    row["label"] = self._answer(inputs, index, example, *places)
                    row["loss"] = float(negative_log(start[places[0]]) + negative_log(end[places[1]])) / 2
                    row["correct"] = row["label"] == row["prediction"]
            rows.append(row)
        return rows

    def _context(self, inputs: Any, row: int, there: np.ndarray) -> np.ndarray:
        """Which tokens belong to the context, after the question."""
        if "token_type_ids" in inputs and inputs["token_type_ids"][row].any():
            context = inputs["token_type_ids"][row] == 1
        else:
            end = getattr(self._decoder.tokenizer, "sep_token_id", None)
            ends = np.flatnonzero(inputs["input_ids"][row] == end)
            context = np.arange(len(there)) > (ends[0] if len(ends) else 0)
        special = np.array([self._decoder.is_special(one) for one in inputs["input_ids"][row]], bool)
        return context & there & ~special

    def _best(self, start: np.ndarray, end: np.ndarray, context: np.ndarray) -> tuple[int, int]:
        """The most probable span in the context, or that of the first token where samples without an answer exist."""
        scores = np.triu(np.outer(start * context, end * context))
        scores = scores - np.triu(scores, k=MAX_ANSWER)
        begin, last = np.unravel_index(scores.argmax(), scores.shape)
        is_none = self._may_be_none and start[0] * end[0] > scores[begin, last]
        return (0, 0) if is_none else (int(begin), int(last))

    def _answer(self, inputs: Any, row: int, example: Example, begin: int, last: int) -> str:
        if last == 0:
            return ""
        if example.context is not None and last < len(example.offsets):
            return example.context[example.offsets[begin][0] : example.offsets[last][1]]
        return self._decoder.text(inputs["input_ids"][row][begin : last + 1])
