"""Methods by which subclasses change transformers' ``Trainer``, and which nothing calls here."""

from __future__ import annotations

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.script_methods import ScriptMethods

# What the Trainer calls itself, and what the former TFTrainer called. A method that users call may be a user's own.
_NAMES = """
    autocast_smart_context_manager call_model_init compute_loss compute_loss_context_manager
    create_accelerator_and_postprocess create_optimizer create_optimizer_and_scheduler create_scheduler
    evaluation_loop floating_point_ops get_batch_samples
    get_decay_parameter_names get_eval_dataloader get_optimizer_cls_and_kwargs get_test_dataloader
    get_total_train_batch_size get_train_dataloader log num_examples num_tokens prediction_loop prediction_step
    set_initial_training_values store_flos training_step
    _get_eval_sampler _get_train_sampler _inner_training_loop _load_best_model _load_from_checkpoint
    _maybe_log_save_evaluate _prepare_input _prepare_inputs _rotate_checkpoints _save _save_checkpoint _wrap_model
    apply_gradients distributed_prediction_steps distributed_training_steps get_eval_tfdataset get_test_tfdataset
    get_train_tfdataset run_model setup_comet setup_wandb
"""
UNCALLED_METHODS = tuple(_NAMES.split())


def refuse_overridden(trainer: type) -> None:
    """Refuse a class of trainers with methods that nothing calls: they would be ignored in silence.

    Raises:
        SettingError: The class, or one of its bases, has some of them.
    """
    found = [
        name for name in UNCALLED_METHODS if getattr(trainer, name, None) is not getattr(ScriptMethods, name, None)
    ]
    if found:
        raise SettingError(
            "TFTrainer",
            trainer.__name__,
            expected=f"a class without {', '.join(found)}: methods of the PyTorch Trainer that nothing calls here yet",
            advice="Pass optimizers=(optimizer, schedule), compile the model with your loss, write train_step in the "
            "model's class, pass batched tf.data.Datasets, or use callbacks instead.",
        )
