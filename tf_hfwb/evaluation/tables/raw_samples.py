"""Tasks of KerasHub on texts and images as they are: classes of them, and texts that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.evaluation.tables.keras_models import Arrays
from tf_hfwb.evaluation.tables.table_task import Example, Row, Task
from tf_hfwb.evaluation.task_generation import texts_of


class RawSamples(Arrays):
    """As for plain Keras models, with the texts or images that the preprocessor gets."""

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """The text, the two texts, or the image."""
        if not isinstance(inputs, Mapping):
            parts = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            is_text = np.asarray(parts[0]).dtype.kind in "OSU"
            inputs = dict(zip(("text", "text_pair") if is_text else ("image",), parts, strict=False))
        return super().example(inputs, labels, row)


class GeneratedTexts(Task):
    """A causal or a sequence-to-sequence language model.

    Of a text alone the first half of its words is the prompt, and the second is shown as the label.

    Args:
        generate: From texts to what follows them.
    """

    only_generates = True

    def __init__(self, generate: Callable[[Any], np.ndarray]) -> None:
        self._generate = generate

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """The prompt, or the source."""
        if isinstance(inputs, Mapping):
            return Example({"source": texts_of(inputs["encoder_text"])[row]})
        return Example({"prompt": _halves(texts_of(inputs)[row])[0]})

    def generate(self, inputs: Any) -> Mapping[str, np.ndarray]:
        """What follows."""
        if isinstance(inputs, Mapping):
            return {"generated": self._generate(inputs)}
        return {"generated": self._generate([_halves(text)[0] for text in texts_of(inputs)])}

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """What should follow, and what the model gives."""
        if isinstance(inputs, Mapping):
            expected = texts_of(inputs["decoder_text"])
        else:
            expected = [_halves(text)[1] for text in texts_of(inputs)]
        rows: list[Row] = []
        for text, generated in zip(expected, texts_of(outputs["generated"]), strict=True):
            rows.append({"label": text, "prediction": generated.strip()})
        return rows


def _halves(text: str) -> tuple[str, str]:
    words = text.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])
