"""The one seam to tf_keras and Keras 3: no other file asks which Keras a model belongs to.

A model:

* ``distributed_model.py``: on which devices it is trained; ``worker_agreement.py``: whether all workers are about to do
  the same.
* ``host_base.py``: what callbacks need to know of it; ``tf_keras_host.py``, ``keras3_host.py``: how each Keras answers;
  ``keras3_tensorflow_host.py``, ``keras3_jax_host.py``, ``keras3_torch_host.py``: what differs between the backends of
  Keras 3; ``host_lookup.py``: which of them it is; ``gpus.py``: how many GPUs there are;
  ``backend_settings.py``, ``tensorflow_settings.py``: with which
  settings a backend computes.
* ``learning_rates.py``: its learning rate, a constant or a schedule.
* ``model_facts.py``: what a run's configuration tells of it; ``compiled_loss.py``: its loss, sample by sample;
  ``mixed_precision.py``: the same model in float32; ``reduced_precision.py``: a model that trains in 16 bits;
  ``keras_export.py``: a plain one as a SavedModel.
* ``label_smoothing.py``: label smoothing in the loss that a model of transformers computes.
* ``transformers_models.py``: whether it is one of transformers (asked nowhere else), and computes its loss itself.
* ``hub_tasks.py``: whether it is a task of KerasHub, which prepares its inputs itself.
* ``random_seeds.py``: the seeds with which it is made.
* ``batch_structure.py``: the inputs and labels of a batch, apart and together; ``numpy_batches.py``: batches of NumPy
  arrays for Keras 3; ``grain_states.py``, ``torch_loader_states.py``: where a loader of Grain or PyTorch stands.

Its training:

* ``callback_base.py``: the callback base class that both accept; ``scalar_values.py``: numbers that hooks are handed.
* ``loss_recorder.py``, ``tensorflow_loss_recorder.py``, ``jax_loss_recorder.py``, ``torch_loss_recorder.py``: the loss
  of every step, recorded within it; ``pass_recorder.py``, ``data_passes.py``, ``process_generators.py``: the data of a
  ``fit`` on JAX or PyTorch, and the random numbers of each pass over them; ``step_seams.py``: where the recorder is put
  into a model; ``execution_hooks.py``: what is called around each execution of the train function.
* ``replica_shares.py``: replicas count as their samples do.
* ``accumulation/``: the gradients of several batches, of which one update is made.
* ``optimizers/``: optimizers that update weights as PyTorch's do.
* ``loss_functions/``: a loss that is a user's function of the model and a batch.
* ``gradient_checkpointing.py``: activations that are computed again, to save memory; ``neftune_noise.py``: noise on
  embeddings.
* ``gradients/``: the gradients of a step, summarized in the training graph.
* ``fit_arguments.py``: the arguments of the running ``fit``; ``preserved_metrics.py``: an evaluation in the middle of
  it; ``evaluation_hooks.py``: the hooks of an evaluation that a trainer runs.

What a checkpoint keeps of it:

* ``training_variables.py``, ``tf_keras_variables.py``, ``keras3_variables.py``: what training changes besides weights;
  ``tf_keras_generators.py``: layers that draw random numbers; ``variable_snapshot.py``: values as of now.
* ``model_files/``: the model in the checkpoint's directory; ``safe_loading/``: a plain model from its files.
* ``mid_epoch_start.py``, ``tf_keras_mid_epoch.py``, ``keras3_mid_epoch.py``: begin the next training in the middle
  of an epoch; ``epoch_lengths.py``: epochs of different lengths; ``finalization.py``: the end of the last one.

The only files with names that a library does not promise:

* ``tf_keras_private.py``, ``keras3_private.py``, ``common_private.py`` (what both share), ``tensorflow_private.py``,
  ``transformers_private.py``; ``private_names.py``: the error when a version lacks one.
"""

from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.batch_weights import is_causal_language_model
from tf_hfwb.keras_compat.batch_structure import join_arguments, match_labels, split_batch
from tf_hfwb.keras_compat.callback_base import Callback, Logs
from tf_hfwb.keras_compat.compiled_loss import unwrap_single
from tf_hfwb.keras_compat.epoch_lengths import forget_epoch_length
from tf_hfwb.keras_compat.evaluation_hooks import PassHooks
from tf_hfwb.keras_compat.execution_hooks import ExecutionHooks
from tf_hfwb.keras_compat.finalization import call_before_finalizing
from tf_hfwb.keras_compat.fit_arguments import fit_arguments, has_callbacks_of_others, is_evaluating
from tf_hfwb.keras_compat.gpus import count_gpus
from tf_hfwb.keras_compat.gradient_checkpointing import keep_activations, recompute_blocks
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver, distributions
from tf_hfwb.keras_compat.gradients.histogram_bins import Distribution, distribution_of_array
from tf_hfwb.keras_compat.grain_states import GrainStates
from tf_hfwb.keras_compat.host_base import Host
from tf_hfwb.keras_compat.host_lookup import NotAKerasModelError, host_of
from tf_hfwb.keras_compat.hub_tasks import is_hub_task, pass_prepared_inputs, prepared_batches, prepares_inputs
from tf_hfwb.keras_compat.keras_export import check_exportable, export_plain, may_refuse_open_axes, structure_of_inputs
from tf_hfwb.keras_compat.label_smoothing import can_smooth_labels, smooth_labels
from tf_hfwb.keras_compat.loss_functions.default_loss import outputs_and_labels, own_loss
from tf_hfwb.keras_compat.loss_functions.loss_function import loss_step_of
from tf_hfwb.keras_compat.loss_recorder import Reading, StepRecorder, difference, last_losses, rate_of
from tf_hfwb.keras_compat.mid_epoch_start import Start
from tf_hfwb.keras_compat.mixed_precision import plain_to_float32, to_float32
from tf_hfwb.keras_compat.model_files.checkpoint_files import ModelFiles
from tf_hfwb.keras_compat.model_files.lora_description import BASE, LORA, LoRADescription, base_name
from tf_hfwb.keras_compat.model_files.lora_files import LoRAFiles
from tf_hfwb.keras_compat.model_files.tokenizer_files import texts_of_processing, write_texts
from tf_hfwb.keras_compat.model_files.transformers_files import plain_configuration
from tf_hfwb.keras_compat.neftune_noise import add_noise, remove_noise
from tf_hfwb.keras_compat.optimizers.rule_configuration import RULES
from tf_hfwb.keras_compat.preserved_metrics import preserve_metrics
from tf_hfwb.keras_compat.process_generators import is_process_state
from tf_hfwb.keras_compat.random_seeds import seed_everything
from tf_hfwb.keras_compat.reduced_precision import multiplies_by_infinity, reduce_precision, restore_precision
from tf_hfwb.keras_compat.safe_loading.keras_loading import load_archive, load_shards
from tf_hfwb.keras_compat.safe_loading.lora_loading import load_lora
from tf_hfwb.keras_compat.safe_loading.preset_loading import is_preset, load_preset
from tf_hfwb.keras_compat.scalar_values import describe_value, to_float
from tf_hfwb.keras_compat.torch_loader_states import TorchLoaderStates
from tf_hfwb.keras_compat.training_variables import name_variables
from tf_hfwb.keras_compat.transformers_models import (
    call_arguments,
    can_return_loss,
    is_auto_class,
    is_model_class,
    is_of_own_class,
    is_of_transformers,
    label_arguments,
)
from tf_hfwb.keras_compat.transformers_private import trains_with_own_loss

__all__ = [
    "call_before_finalizing",
    "is_process_state",
    "count_gpus",
    "BASE",
    "BatchGroups",
    "LORA",
    "LoRADescription",
    "LoRAFiles",
    "ModelFiles",
    "RULES",
    "base_name",
    "join_arguments",
    "loss_step_of",
    "match_labels",
    "outputs_and_labels",
    "pass_prepared_inputs",
    "prepared_batches",
    "prepares_inputs",
    "own_loss",
    "seed_everything",
    "split_batch",
    "Callback",
    "call_arguments",
    "can_return_loss",
    "check_exportable",
    "is_evaluating",
    "is_auto_class",
    "is_model_class",
    "is_of_own_class",
    "is_causal_language_model",
    "is_of_transformers",
    "label_arguments",
    "ExecutionHooks",
    "Distribution",
    "GradientObserver",
    "GrainStates",
    "Host",
    "Logs",
    "NotAKerasModelError",
    "PassHooks",
    "Reading",
    "Start",
    "StepRecorder",
    "describe_value",
    "difference",
    "distributions",
    "fit_arguments",
    "forget_epoch_length",
    "export_plain",
    "may_refuse_open_axes",
    "has_callbacks_of_others",
    "host_of",
    "to_float32",
    "load_archive",
    "is_hub_task",
    "is_preset",
    "load_preset",
    "load_lora",
    "load_shards",
    "name_variables",
    "to_float",
    "distribution_of_array",
    "unwrap_single",
    "plain_configuration",
    "plain_to_float32",
    "last_losses",
    "rate_of",
    "structure_of_inputs",
    "texts_of_processing",
    "trains_with_own_loss",
    "can_smooth_labels",
    "preserve_metrics",
    "keep_activations",
    "add_noise",
    "recompute_blocks",
    "TorchLoaderStates",
    "remove_noise",
    "multiplies_by_infinity",
    "reduce_precision",
    "restore_precision",
    "smooth_labels",
    "write_texts",
]
