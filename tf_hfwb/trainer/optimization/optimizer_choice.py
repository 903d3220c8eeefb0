"""The optimizer that training arguments describe, for either Keras."""

from __future__ import annotations

import functools
from typing import Any

from tf_hfwb.keras_compat import RULES, Host
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.optimization.optimizer_names import parse_optimizer
from tf_hfwb.trainer.optimization.weight_decay_groups import decaying


def create_optimizer(host: Host, args: TFTrainingArguments, learning_rate: Any) -> Any:
    """The optimizer of the model's own Keras that updates weights as the PyTorch ``Trainer`` does.

    Args:
        host: The model.
        args: The kind of optimizer, its options, decay and clipping.
        learning_rate: A rate or a schedule.

    Raises:
        SettingError: The optimizer or an option of it is not available.

    Follows ``Trainer.create_optimizer`` of transformers.
    """
    kind, options = parse_optimizer(args.optim, args.optim_args)
    if kind in ("adamw", "lion", "lamb"):
        options |= {"beta_1": args.adam_beta1, "beta_2": args.adam_beta2}
    if kind in ("adamw", "lamb"):
        options["epsilon"] = args.adam_epsilon
    with host.scope():
        return host.optimizer_class(
            RULES[kind](**options),
            learning_rate,
            weight_decay=args.weight_decay,
            find_decaying=functools.partial(decaying, host),
            global_clipnorm=args.max_grad_norm or None,
        )
