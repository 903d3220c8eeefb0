"""The loss that a model has without a user's function, in the form of such a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat.batch_structure import LABELS, WEIGHTS, as_inputs, match_labels, split_batch
from tf_hfwb.keras_compat.transformers_models import can_return_loss, is_of_transformers
from tf_hfwb.keras_compat.transformers_private import trains_with_own_loss

CompiledLossValue = Callable[[Any, Any, Any], Any]


def own_loss(model: Any, batch: Mapping[str, Any], compiled: CompiledLossValue) -> tuple[Any, Any]:
    """The loss of a batch and the model's outputs.

    Args:
        model: The model.
        batch: Inputs and labels by name.
        compiled: From labels, outputs and weights to the loss that the model was compiled with; None without one.

    Raises:
        SettingError: The model has no loss.
    """
    if is_of_transformers(model) and trains_with_own_loss(model):
        options = {"return_loss": True} if can_return_loss(model) else {}
        outputs = model(dict(batch), **options)
        return outputs["loss"], outputs
    inputs, labels, weights = _parts(model, batch)
    outputs = model(inputs)
    matched, matching = (labels, outputs) if labels is None else _match(model, labels, outputs)
    loss = None if matched is None else compiled(matched, matching, weights)
    if loss is None:
        raise SettingError(
            "compute_loss",
            type(model).__name__,
            expected="a model that was compiled with a loss, and a batch with labels",
            advice="Compute the loss without super().compute_loss, or compile the model with a loss first.",
        )
    return loss, outputs


def outputs_and_labels(model: Any, batch: Mapping[str, Any]) -> tuple[Any, Any]:
    """The model's outputs for a batch without its labels, and the labels; None without any."""
    inputs = {name: value for name, value in batch.items() if name not in (LABELS, WEIGHTS)}
    return model(as_inputs(inputs)), batch.get(LABELS)


def _parts(model: Any, batch: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    weights = batch.get(WEIGHTS)
    rest = {name: value for name, value in batch.items() if name != WEIGHTS}
    if is_of_transformers(model):
        inputs, labels, _ = split_batch(model, rest)
        return inputs, labels, weights
    labels = rest.pop(LABELS, None)
    return as_inputs(rest), labels, weights


def _match(model: Any, labels: Any, outputs: Any) -> tuple[Any, Any]:
    return match_labels(model, labels, outputs) if is_of_transformers(model) else (labels, outputs)


def without_share(loss: Any) -> Any:
    """A compiled loss as if there were one replica: Keras on TensorFlow divides it by their number."""
    import tensorflow as tf

    return None if loss is None else loss * tf.distribute.get_strategy().num_replicas_in_sync
