"""Label smoothing in the loss that a model of transformers computes itself."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat.transformers_models import is_of_transformers
from tf_hfwb.keras_compat.transformers_private import trains_with_own_loss

_IGNORED = -100  # The label of what has no loss.
_factors: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


def can_smooth_labels(model: Any) -> bool:
    """Whether the model computes a cross-entropy of one class for each label itself."""
    if not is_of_transformers(model) or not trains_with_own_loss(model):
        return False
    from transformers import modeling_tf_utils as losses

    if isinstance(model, losses.TFSequenceClassificationLoss):
        return model.config.num_labels > 1
    return isinstance(
        model,
        (
            losses.TFCausalLanguageModelingLoss,
            losses.TFTokenClassificationLoss,
            losses.TFMultipleChoiceLoss,
            losses.TFNextSentencePredictionLoss,
        ),
    )


def smooth_labels(model: Any, factor: float) -> bool:
    """Let a model smooth the labels of its loss from now on; return whether that is a change.

    Args:
        model: The model, for which :func:`can_smooth_labels`.
        factor: How much of each label is spread over all classes; 0 for the model's own loss.

    Follows ``LabelSmoother`` of transformers: the mean is taken over labels other than -100. A causal model hands over
    labels and logits that are shifted already.
    """
    if _factors.get(model, 0.0) == factor:
        return False
    _factors[model] = factor
    vars(model).pop("hf_compute_loss", None)
    if factor:
        model.hf_compute_loss = _smoothed(factor)
    model.train_function = model.test_function = None  # Traced with the loss as it was.
    return True


def _smoothed(factor: float) -> Callable[[Any, Any], Any]:
    import tensorflow as tf

    def compute_smoothed_loss(labels: Any, logits: Any) -> Any:
        logits = tf.cast(logits, tf.float32)
        if labels.shape.rank == logits.shape.rank:
            labels = labels[..., 0]
        labels = tf.cast(labels, tf.int64)
        is_active = tf.cast(labels != _IGNORED, tf.float32)
        log_probabilities = tf.nn.log_softmax(logits)
        of_label = tf.gather(log_probabilities, tf.nn.relu(labels), batch_dims=labels.shape.rank)
        spread = tf.reduce_mean(log_probabilities, axis=-1)
        losses = -((1.0 - factor) * of_label + factor * spread) * is_active
        if labels.shape.rank == 1:  # A loss for each sample, which may have a weight; their mean is that of the active.
            return losses * (tf.cast(tf.size(labels), tf.float32) / tf.reduce_sum(is_active))
        return tf.reshape(tf.reduce_sum(losses) / tf.reduce_sum(is_active), (1,))

    return compute_smoothed_loss
