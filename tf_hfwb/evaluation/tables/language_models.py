"""Language models: masked words filled in, prompts continued, texts rewritten."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.tables.decoded_texts import Decoder, mask_of, special_ids
from tf_hfwb.evaluation.tables.table_task import Example, Row, Task

MASKED_SHARE = 0.15  # As in BERT's pretraining.

Generate = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def mask_words(batches: Sequence[tuple[Any, Any]], processing_class: Any) -> list[tuple[Any, Any]]:
    """Mask words in batches without labels, the same ones every time; batches with labels or masks stay as they are.

    Raises:
        DataError: The token of a gap is not known.
    """
    tokenizer = Decoder(processing_class).tokenizer
    mask = getattr(tokenizer, "mask_token_id", None)
    random = np.random.default_rng(0)
    made = []
    for inputs, labels in batches:
        if labels is not None:
            made.append((inputs, labels))
            continue
        if mask is None:
            raise DataError(
                "Texts without labels have no gaps that a masked language model fills. Expected a tokenizer with a "
                f"mask token, which makes some, in processing_class={processing_class!r}. Pass it, or labels."
            )
        has_gaps = bool((inputs["input_ids"] == mask).any())
        made.append((inputs, None) if has_gaps else _mask_batch(inputs, special_ids(tokenizer), mask, random))
    return made


def _mask_batch(
    inputs: Any, special: Collection[int], mask: int, random: np.random.Generator
) -> tuple[Any, np.ndarray]:
    ids = np.array(inputs["input_ids"])
    labels = np.full_like(ids, IGNORED_LABEL)
    for row, there in enumerate(mask_of(inputs) != 0):
        places = [place for place in np.flatnonzero(there) if ids[row, place] not in special]
        number = min(len(places), max(1, round(MASKED_SHARE * len(places))))
        for place in random.choice(places, number, replace=False) if places else ():
            labels[row, place], ids[row, place] = ids[row, place], mask
    return {**inputs, "input_ids": ids}, labels


class MaskedWords(Task):
    """A masked language model: the text with masks, the masked words, and the model's predictions.

    Args:
        processing_class: The tokenizer.
    """

    def __init__(self, processing_class: Any) -> None:
        self._decoder = Decoder(processing_class)
        self._mask = getattr(self._decoder.tokenizer, "mask_token_id", None)

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """The text with its masks."""
        there = mask_of(inputs)[row].astype(bool)
        return Example({"text": self._decoder.text(inputs["input_ids"][row][there], keep=self._mask)})

    def reduce(self, inputs: Any, labels: Any, outputs: Any) -> Mapping[str, Any]:
        """The most probable token at each position."""
        import tensorflow as tf

        logits = tf.cast(outputs["logits"], tf.float32)
        best = tf.argmax(logits, axis=-1)
        probability = tf.exp(tf.reduce_max(logits, axis=-1) - tf.reduce_logsumexp(logits, axis=-1))
        reduced = {"ids": best, "probability": probability}
        return reduced if labels is None else {**reduced, "loss": _mean_loss(logits, labels)}

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """The masked words, and what the model predicts for them."""
        rows: list[Row] = []
        for index, ids in enumerate(inputs["input_ids"]):
            gaps = ids == self._mask if labels is None else labels[index] != IGNORED_LABEL
            gaps = gaps & mask_of(inputs)[index].astype(bool)
            probabilities = outputs["probability"][index][gaps]
            row: Row = {
                "label": None,
                "prediction": self._fill_masks(outputs["ids"][index][gaps]),
                "probability": float(probabilities.mean()) if gaps.any() else None,
                "loss": None,
                "correct": None,
            }
            if labels is not None and gaps.any():
                row["label"] = self._fill_masks(labels[index][gaps])
                row["loss"] = float(outputs["loss"][index])
                row["correct"] = bool((outputs["ids"][index] == labels[index])[gaps].all())
            rows.append(row)
        return rows

    def _fill_masks(self, ids: Sequence[int]) -> str:
        return " | ".join(self._decoder.text([one]) for one in ids)


class Continuation(Task):
    """A causal language model: the first half of the text is the prompt, the second the label.

    Args:
        processing_class: The tokenizer.
        generate: From ``input_ids`` and ``attention_mask``, padded on the left, to the new tokens.
    """

    only_generates = True

    def __init__(self, processing_class: Any, generate: Generate) -> None:
        self._decoder = Decoder(processing_class)
        self._generate = generate
        tokenizer = self._decoder.tokenizer
        padding = getattr(tokenizer, "pad_token_id", None)
        self._padding = getattr(tokenizer, "eos_token_id", None) or 0 if padding is None else padding

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """The prompt."""
        return Example({"prompt": self._decoder.text(self._halves(inputs, row)[0])})

    @staticmethod
    def _halves(inputs: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
        ids = inputs["input_ids"][row][mask_of(inputs)[row].astype(bool)]
        middle = (len(ids) + 1) // 2
        return ids[:middle], ids[middle:]

    def reduce(self, inputs: Any, labels: Any, outputs: Any) -> Mapping[str, Any]:
        """The loss of the whole text."""
        import tensorflow as tf

        if labels is None:
            return {}
        return {"loss": _mean_loss(tf.cast(outputs["logits"], tf.float32)[:, :-1], labels[:, 1:])}

    def generate(self, inputs: Any) -> Mapping[str, np.ndarray]:
        """Continue the prompts."""
        prompts = [self._halves(inputs, row)[0] for row in range(len(inputs["input_ids"]))]
        width = max(1, *map(len, prompts)) if prompts else 1
        ids = np.full((len(prompts), width), self._padding, np.int32)
        mask = np.zeros((len(prompts), width), np.int32)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        return {"generated": self._generate({"input_ids": ids, "attention_mask": mask})}

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """How the text continues, and how the model continues it."""
        return [
            {
                "label": self._decoder.text(self._halves(inputs, row)[1]),
                "prediction": self._decoder.text(generated),
                "loss": None if labels is None else float(outputs["loss"][row]),
            }
            for row, generated in enumerate(outputs["generated"])
        ]


class Rewriting(Task):
    """A sequence-to-sequence model: source, reference, and the text that the model generates.

    Args:
        processing_class: The tokenizer.
        generate: From the encoder's inputs to the generated tokens.
    """

    only_generates = True

    def __init__(self, processing_class: Any, generate: Generate) -> None:
        self._decoder = Decoder(processing_class)
        self._generate = generate

    def example(self, inputs: Any, labels: Any, row: int) -> Example:
        """The source."""
        return Example({"source": " ".join(self._decoder.texts(inputs, row))})

    def reduce(self, inputs: Any, labels: Any, outputs: Any) -> Mapping[str, Any]:
        """The loss of the reference."""
        import tensorflow as tf

        return {} if labels is None else {"loss": _mean_loss(tf.cast(outputs["logits"], tf.float32), labels)}

    def generate(self, inputs: Any) -> Mapping[str, np.ndarray]:
        """Rewrite the sources."""
        encoded = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
        return {"generated": self._generate(encoded)}

    def rows(self, inputs: Any, labels: Any, outputs: Mapping[str, np.ndarray], examples: Sequence[Example]) -> Any:
        """The reference, and the generated text."""
        return [
            {
                "label": None if labels is None else self._decoder.text(labels[row][labels[row] != IGNORED_LABEL]),
                "prediction": self._decoder.text(generated),
                "loss": None if labels is None else float(outputs["loss"][row]),
            }
            for row, generated in enumerate(outputs["generated"])
        ]


def _mean_loss(logits: Any, labels: Any) -> Any:
    """The mean cross entropy of each sample's labelled tokens: [batch]."""
    import tensorflow as tf

    counts = tf.cast(labels != IGNORED_LABEL, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(tf.cast(labels, tf.int64), 0), logits)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * counts, axis=-1), tf.reduce_sum(counts, axis=-1))
