"""The optimizer that training arguments describe, for either Keras."""

from __future__ import annotations

from typing import Any

from tf_hfwb.keras_compat import Host
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

# Patterns for names of variables. In tf_keras a name is the whole path, in Keras 3 only the last part of it.
_NOT_DECAYED = [r"bias", r"[Ll]ayer_?[Nn]orm", r"[Rr][Mm][Ss]_?[Nn]orm", r"gamma", r"beta", r"\bln_", r"\bscale\b"]


def create_optimizer(host: Host, args: TFTrainingArguments, learning_rate: Any) -> Any:
    """AdamW of the model's own Keras, without decay of biases and normalisation weights.

    Args:
        host: The model.
        args: Decay, betas, epsilon and clipping.
        learning_rate: A rate or a schedule.

    Follows ``Trainer.create_optimizer`` of transformers.
    """
    with host.scope():
        optimizer = host.keras.optimizers.AdamW(
            learning_rate=learning_rate,
            weight_decay=args.weight_decay,
            beta_1=args.adam_beta1,
            beta_2=args.adam_beta2,
            epsilon=args.adam_epsilon,
            global_clipnorm=args.max_grad_norm or None,
        )
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer
