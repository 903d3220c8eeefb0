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
_SAVING = "save_model may be overridden: it is called for each checkpoint, and can write more files into it."
_BEST = "metric_for_best_model names a metric; evaluate and compute_metrics may add one."
_SEARCH = "hp_space, compute_objective and hp_name of hyperparameter_search say what a search does."
_HUB = "hub_strategy says what is pushed; push_to_hub and create_model_card may be overridden."
_NEFTUNE = "Set neftune_noise_alpha."
_DEVICES = "Make the model in a scope of a tf.distribute.Strategy: Keras moves models and batches to devices."
_RUN = (
    "Call wandb.init before the training: a run that is open is used. Name and project are run_name and WANDB_PROJECT."
)

# What the Trainer calls itself, and what the former TFTrainer called, with what to do instead. A method that users call
# may be a user's own.
_ADVICE = {
    "training_step run_model apply_gradients distributed_training_steps get_batch_samples compute_loss_context_manager "
    "autocast_smart_context_manager _inner_training_loop _get_num_items_in_batch _is_attention_mask_causal "
    "_prepare_context_parallel_inputs": _STEP,
    "get_train_dataloader get_eval_dataloader get_test_dataloader _get_train_sampler _get_eval_sampler "
    "_prepare_input _prepare_inputs num_examples num_tokens _get_dataloader _remove_unused_columns "
    "_set_signature_columns_if_needed _get_collator_with_removed_columns": _DATA,
    "_align_special_tokens": "Set the numbers of special tokens in the model's config.",
    "prediction_step prediction_loop distributed_prediction_steps _evaluate _gather_and_numpify _nested_gather "
    "_pad_tensors_to_max_len": _LOOP,
    "load_generation_config": "Pass generation_config to TFTrainingArguments.",
    "get_decay_parameter_names get_optimizer_cls_and_kwargs": _OPTIMIZER,
    "_load_best_model _load_from_checkpoint _rotate_checkpoints _save _save_checkpoint _save_optimizer_and_scheduler "
    "_load_optimizer_and_scheduler _save_rng_state _load_rng_state _save_scaler _load_scaler _save_tpu "
    "_load_callback_state _issue_warnings_after_load compare_trainer_and_checkpoint_args _get_output_dir "
    "_sorted_checkpoints": _SAVING,
    "_determine_best_metric": _BEST,
    "_push_from_checkpoint _finish_current_push init_hf_repo": _HUB,
    "_hp_search_setup _report_to_hp_search _tune_save_checkpoint": _SEARCH,
    "_activate_neftune _deactivate_neftune": _NEFTUNE,
    "create_accelerator_and_postprocess _wrap_model _move_model_to_device get_tp_size propagate_args_to_deepspeed "
    "_fsdp_qlora_plugin_updates": _DEVICES,
    "torch_jit_model_eval": "Set xla.",
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
