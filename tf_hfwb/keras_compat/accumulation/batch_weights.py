"""How much each batch weighs in an update of several.

The loss of a batch is a mean, and an update is by the mean of its batches. But where the loss is a mean over tokens of
a causal language model, or the user divides it by ``num_items_in_batch``, each item counts the same, as in ``Trainer``
of transformers, which divides by the items of the whole update.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.keras_compat.loss_functions.loss_function import loss_step_of
from tf_hfwb.keras_compat.transformers_models import is_of_transformers
from tf_hfwb.keras_compat.transformers_private import trains_with_own_loss


def batch_weight(model: Any) -> Callable[[Any], Any] | None:
    """Gives the weight of a batch, inside the graph, from what the train step gets; None where all weigh the same.

    Args:
        model: The model, compiled.
    """
    step = loss_step_of(model)
    if step is not None and step.function.is_mean_of_items:
        return step.count_items
    return _count_predicted_tokens if is_causal_language_model(model) else None


def is_causal_language_model(model: Any) -> bool:
    """Whether it is a model of transformers whose own loss is a mean over the tokens that it predicts."""
    if not (is_of_transformers(model) and trains_with_own_loss(model)):
        return False
    of_causal_models = sys.modules["transformers.modeling_tf_utils"].TFCausalLanguageModelingLoss
    # T5 and its like have this loss too, but the Trainer takes the mean of their batches.
    return isinstance(model, of_causal_models) and not model.config.is_encoder_decoder


def _count_predicted_tokens(data: Any) -> Any:
    import tensorflow as tf

    inputs, labels, *_ = data if isinstance(data, tuple) else (data, None)
    if labels is None:
        labels = inputs
    if isinstance(labels, Mapping):
        labels = labels["labels"]
    return tf.reduce_sum(tf.cast(labels[:, 1:] != -100, tf.float32))  # Nothing predicts the first token.
