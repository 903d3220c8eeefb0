"""Compute activations again in the backward pass, where the arguments say so."""

from __future__ import annotations

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host, is_of_transformers, keep_activations, recompute_blocks
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments


def use_gradient_checkpointing(host: Host, args: TFTrainingArguments) -> None:
    """Let the model be trained as ``gradient_checkpointing`` says.

    Args:
        host: The model, with all of its weights.
        args: The arguments.

    Raises:
        SettingError: It cannot be done with this model.
    """
    model = host.model
    if not args.gradient_checkpointing:
        keep_activations(model)
        return
    if not is_of_transformers(model):
        raise SettingError(
            "gradient_checkpointing",
            True,
            expected=f"False with {type(model).__name__}, which is not a model of transformers: its blocks are unknown",
            advice="Make its layers in a keras.RematScope (Keras 3), or call them by tf.recompute_grad (tf_keras).",
        )
    if host.num_replicas > 1:
        raise SettingError(
            "gradient_checkpointing",
            True,
            expected="False on several replicas, whose random numbers cannot be drawn again",
            advice="Use a smaller per_device_train_batch_size.",
        )
    if not recompute_blocks(model):
        raise SettingError(
            "gradient_checkpointing",
            True,
            expected=f"False with {type(model).__name__}, which has no list of blocks of one class",
            advice="Use a smaller per_device_train_batch_size.",
        )
