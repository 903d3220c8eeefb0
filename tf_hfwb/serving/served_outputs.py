"""The answers of a servable model: its outputs by names that callers need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.errors import ExportError, SettingError

# Outputs that are not answers: the loss of training, and the encoder's intermediate output.
_NO_ANSWERS = ("loss", "encoder_last_hidden_state")
# Classifiers made of decoders: they answer by the last token that is not the pad token, which they know by its id.
_ENDED_BY_PADDING = ("gpt2", "gptj", "openai-gpt", "ctrl", "mistral")


class Outputs:
    """Turns the output of a TF model of transformers into what the SavedModel answers.

    A classifier gives ``label``, ``score``, ``probabilities`` and ``logits``, for each text or picture, or for each
    token; a regression ``score`` and ``logits``; other models all tensors that they compute: ``logits``;
    ``start_logits`` and ``end_logits``; ``last_hidden_state`` and ``pooler_output``; and so on.

    Args:
        model: The model.

    Attributes:
        labels: The labels in the order of the probabilities; empty when the model is not a classifier.
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
            [str(config.id2label.get(index, f"LABEL_{index}")) for index in range(config.num_labels)]
            if is_classifier
            else []
        )
        self.of_tokens = not by_text

    def __call__(self, output: Any) -> dict[str, Any]:
        """The answers by name, from the model's output; of a tensor or a tuple without names ``output_0`` and so on.

        Raises:
            ExportError: There is none.
        """
        import tensorflow as tf

        if not isinstance(output, Mapping):
            output = {f"output_{place}": value for place, value in enumerate(tf.nest.flatten(output))}
        answers = {}
        for name, value in output.items():
            # Caches and the layers' states are tuples.
            if name not in _NO_ANSWERS and tf.is_tensor(value) and value.shape.rank != 0:
                answers[name] = tf.cast(value, tf.float32) if value.dtype.is_floating else value
        if not answers:
            raise ExportError(
                f"The model answers with nothing: its outputs are {', '.join(output) or 'none'}. Expected a tensor "
                "with a row for each text or picture. Export a model with a head for your task."
            )
        if "logits" not in answers:
            return answers
        if self._is_regression:
            answers["score"] = answers["logits"][:, 0] if answers["logits"].shape[-1] == 1 else answers["logits"]
        if self.labels:
            logits = answers["logits"]
            answers["probabilities"] = tf.sigmoid(logits) if self._is_multiple else tf.nn.softmax(logits)
            answers["label"] = tf.gather(tf.constant(self.labels), tf.argmax(logits, axis=-1))
            answers["score"] = tf.reduce_max(answers["probabilities"], axis=-1)
        return answers


def is_ended_by_padding(model: Any) -> bool:
    """Whether the model's answer depends on the id with which its texts are padded.

    Raises:
        SettingError: It does, and the configuration has no such id.
    """
    names = " ".join(ancestor.__name__ for ancestor in type(model).__mro__)
    if "ForSequenceClassification" not in names or model.config.model_type not in _ENDED_BY_PADDING:
        return False
    if model.config.pad_token_id is None:
        raise SettingError(
            "pad_token_id",
            None,
            expected=f"the id of a token in the model's configuration, by which {type(model).__name__} finds where a "
            "text ends",
            advice="Set model.config.pad_token_id to what it was trained with, and save the model again.",
        )
    return True
