"""The hyperparameters of a training, for its model card."""

from __future__ import annotations

from typing import Any

from tf_hfwb.keras_compat import Host
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

# Switches of Keras's optimizers that have nothing to do with the updates.
_NOT_SAID = ("name", "learning_rate", "jit_compile", "is_legacy_optimizer", "ema_momentum", "use_ema")


def hyperparameters(host: Host, args: TFTrainingArguments, *, is_own_optimizer: bool) -> dict[str, Any]:
    """By their names in the model cards of transformers.

    Args:
        host: The model, with its optimizer.
        args: The arguments of its training.
        is_own_optimizer: Whether the user made the optimizer or the schedule, so that the arguments do not say how the
            model was trained.
    """
    # By the trainer, or by an optimizer of the user's.
    accumulation, replicas = args.gradient_accumulation_steps * host.accumulation_steps, host.num_replicas
    train_batch, eval_batch = args.per_device_train_batch_size, args.per_device_eval_batch_size
    found: dict[str, Any] = {} if is_own_optimizer else {"learning_rate": args.learning_rate}
    found |= {"train_batch_size": train_batch, "eval_batch_size": eval_batch, "seed": args.seed}
    if replicas > 1:
        found["num_devices"] = replicas
    if accumulation > 1:
        found["gradient_accumulation_steps"] = accumulation
    if replicas * accumulation > 1:
        found["total_train_batch_size"] = train_batch * replicas * accumulation
    if replicas > 1:
        found["total_eval_batch_size"] = eval_batch * replicas
    found["optimizer"] = _optimizer(innermost(host.optimizer)) if is_own_optimizer else _optimizer_of(args)
    if not is_own_optimizer:
        found["lr_scheduler_type"] = args.lr_scheduler_type
        if args.warmup_ratio:
            found["lr_scheduler_warmup_ratio"] = args.warmup_ratio
        if args.warmup_steps:
            found["lr_scheduler_warmup_steps"] = args.warmup_steps
    if args.max_steps > 0:
        found["training_steps"] = args.max_steps
    else:
        found["num_epochs"] = args.num_train_epochs
    policy = host.keras.mixed_precision.global_policy().name
    if policy != "float32":
        found["mixed_precision_training"] = policy
    return found


def _optimizer_of(args: TFTrainingArguments) -> str:
    """The optimizer that the arguments describe."""
    said = [f"weight_decay={args.weight_decay}", f"max_grad_norm={args.max_grad_norm}"]
    if "adam" in args.optim:
        said[:0] = [f"betas=({args.adam_beta1}, {args.adam_beta2})", f"epsilon={args.adam_epsilon}"]
    if args.optim_args:
        said.append(f"optim_args={args.optim_args}")
    return f"{args.optim} with {', '.join(said)}"


def _optimizer(optimizer: Any) -> str:
    """An optimizer of the user's, with the numbers of its configuration."""
    config = optimizer.get_config() if hasattr(optimizer, "get_config") else {}
    said = [
        f"{name}={value}"
        for name, value in config.items()
        if isinstance(value, (int, float)) and value is not False and name not in _NOT_SAID
    ]
    return f"{type(optimizer).__name__} with {', '.join(said)}" if said else type(optimizer).__name__
