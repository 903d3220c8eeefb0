"""What a servable model answers, under names that people need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What the outputs of models without a head for a task are called.
_PLAIN = ("logits", "start_logits", "end_logits", "last_hidden_state", "pooler_output")


class Outputs:
    """Turns the output of a TF model of transformers into what the SavedModel answers.

    A classifier gives ``label``, ``score``, ``probabilities`` and ``logits``, for each text or picture, or for each
    token; a regression ``score`` and ``logits``; other models what they compute: ``logits``; ``start_logits`` and
    ``end_logits``; ``last_hidden_state`` and ``pooler_output``.

    Args:
        model: The model.

    Attributes:
        labels: The labels in the order of the probabilities; empty when the model is no classifier.
        of_tokens: Whether there is an answer for each token rather than for each text.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        names = " ".join(ancestor.__name__ for ancestor in type(model).__mro__)
        by_text = any(f"For{kind}Classification" in names for kind in ("Sequence", "Image"))
        by_token = "ForTokenClassification" in names
        self._is_regression = by_text and (config.num_labels == 1 or config.problem_type == "regression")
        self._is_multiple = by_text and config.problem_type == "multi_label_classification"
        is_classifier = (by_text or by_token) and not self._is_regression
        self.labels: Sequence[str] = (
            [str(config.id2label[index]) for index in range(config.num_labels)] if is_classifier else []
        )
        self.of_tokens = not by_text

    def __call__(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """The answers by name, from the model's output."""
        import tensorflow as tf

        answers = {name: tf.cast(output[name], tf.float32) for name in _PLAIN if output.get(name) is not None}
        if self._is_regression:
            answers["score"] = answers["logits"][:, 0] if answers["logits"].shape[-1] == 1 else answers["logits"]
        if self.labels:
            logits = answers["logits"]
            answers["probabilities"] = tf.sigmoid(logits) if self._is_multiple else tf.nn.softmax(logits)
            answers["label"] = tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1))
            answers["score"] = tf.reduce_max(answers["probabilities"], axis=-1)
        return answers
