"""Methods by which subclasses change a trainer: those that are called here, and those that nothing calls."""

from __future__ import annotations

from typing import Any

from tf_hfwb.errors import SettingError

_STEP = "compute_loss decides what a step minimizes; a whole step of its own is train_step of the model's class."
_DATA = (
    "Override get_train_tfdataset, get_eval_tfdataset or get_test_tfdataset, which return tf.data.Datasets of batches."
)
_LOOP = "Override evaluation_loop, or evaluate and predict."
_OPTIMIZER = "Override create_optimizer or create_optimizer_and_scheduler."
_SAVING = "A Keras callback among callbacks can save more; save_model may be overridden."
_DEVICES = "Make the model in a scope of a tf.distribute.Strategy: Keras moves models and batches to devices."
_RUN = (
    "Call wandb.init before the training: a run that is open is used. Name and project are run_name and WANDB_PROJECT."
)

# What the Trainer calls itself, and what the former TFTrainer called, with what to do instead. A method that users call
# may be a user's own.
_ADVICE = {
    "training_step run_model apply_gradients distributed_training_steps get_batch_samples compute_loss_context_manager "
    "autocast_smart_context_manager _inner_training_loop": _STEP,
    "get_train_dataloader get_eval_dataloader get_test_dataloader _get_train_sampler _get_eval_sampler "
    "_prepare_input _prepare_inputs num_examples num_tokens": _DATA,
    "prediction_step prediction_loop distributed_prediction_steps": _LOOP,
    "get_decay_parameter_names get_optimizer_cls_and_kwargs": _OPTIMIZER,
    "_load_best_model _load_from_checkpoint _rotate_checkpoints _save _save_checkpoint": _SAVING,
    "create_accelerator_and_postprocess _wrap_model": _DEVICES,
    "setup_wandb": _RUN,
    "setup_comet": "Comet has a Keras callback: pass it among callbacks.",
    "log _maybe_log_save_evaluate": "Pass a callback that acts on the logs of steps and epochs.",
    "floating_point_ops store_flos": "Nothing counts operations.",
    "get_total_train_batch_size set_initial_training_values": "Set per_device_train_batch_size, max_steps and "
    "num_train_epochs.",
}
UNCALLED_METHODS = {name: advice for names, advice in _ADVICE.items() for name in names.split()}


def refuse_overridden(trainer: type, base: type) -> None:
    """Refuse a class of trainers with methods that nothing calls: they would be ignored in silence.

    Args:
        trainer: The class.
        base: The class that it is, or whose subclass it is.

    Raises:
        SettingError: The class, or one between the two, has some of them.
    """
    found = [name for name in UNCALLED_METHODS if getattr(trainer, name, None) is not getattr(base, name, None)]
    if found:
        advice = dict.fromkeys(UNCALLED_METHODS[name] for name in found)
        raise SettingError(
            "TFTrainer",
            trainer.__name__,
            expected=f"a class without its own {', '.join(found)}, which nothing calls here",
            advice=" ".join(advice),
        )


def is_overridden(trainer: Any, name: str, base: type) -> bool:
    """Whether a trainer has another method of that name than the class that declares it.

    Args:
        trainer: The trainer; a method may have been set on it alone.
        name: The method.
        base: The class with its default.
    """
    return getattr(getattr(trainer, name), "__func__", None) is not getattr(base, name)
