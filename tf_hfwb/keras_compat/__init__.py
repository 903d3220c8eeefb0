"""The one seam to tf_keras and Keras 3: no other file asks which Keras a model belongs to.

* ``callback_base.py``: the callback base class that both accept.
* ``host_base.py``: what callbacks need to know of a model; ``tf_keras_host.py``, ``keras3_host.py``: how each Keras
  tells; ``host_lookup.py``: which of them it is. ``model_facts.py``: what a run's configuration tells of it;
  ``scalar_values.py``: numbers that hooks are handed. ``compiled_loss.py``: the model's loss, sample by sample.
* ``loss_recorder.py``, ``tensorflow_loss_recorder.py``, ``jax_loss_recorder.py``: the loss of every step, recorded in
  the training graph; ``step_seams.py``: where the recorder is put into a model; ``fit.py``: what callbacks of a fit
  share.
* ``gradient_observer.py``, ``tensorflow_gradient_observer.py``, ``jax_gradient_observer.py``: the gradients of a step,
  summed up in the training graph by ``histogram_bins.py``; ``optimizer_seams.py``: where the observer is put into an
  optimizer.
* ``training_variables.py``, ``tf_keras_variables.py``, ``keras3_variables.py``: what training changes besides weights;
  ``tf_keras_generators.py``: layers that draw random numbers; ``variable_snapshot.py``: values as of now.
* ``transformers_files.py``, ``keras_files.py``, ``tokenizer_files.py``: a model in the directory of a checkpoint;
  ``keras_layout.py``, ``archive_texts.py``: what Keras would write of it, and where; ``keras_archive.py``: a plain
  model that only Keras itself can write.
* ``keras_loading.py``: a plain model from its files; ``safe_config.py``, ``archive_safety.py``, ``hdf5_safety.py``:
  what may be in them, which ``keras_parts.py`` and ``tensorflow_operations.py`` list.
* ``fit_arguments.py``: what the running ``fit`` was called with; ``preserved_metrics.py``: an evaluation in the middle
  of it; ``evaluation_hooks.py``: the hooks of an evaluation that a trainer runs.
* ``transformers_models.py``: whether a model is one of transformers (asked nowhere else), and computes its loss itself.
* ``mixed_precision.py``: a model that computes in float32; ``keras_export.py``: a plain one as a SavedModel.
* ``tf_keras_private.py``, ``keras3_private.py``, ``common_private.py`` (what both share), ``tensorflow_private.py``,
  ``transformers_private.py``: the only files that use names which a library does not promise; ``private_names.py``: the
  error when a version lacks one.
* ``mid_epoch_start.py``, ``tf_keras_start.py``, ``keras3_start.py``: begin the next training in the middle of an epoch;
  ``epoch_lengths.py``: epochs of different
  lengths.
"""

from tf_hfwb.keras_compat.callback_base import Callback, Logs
from tf_hfwb.keras_compat.compiled_loss import unwrap_single
from tf_hfwb.keras_compat.epoch_lengths import forget_epoch_length
from tf_hfwb.keras_compat.evaluation_hooks import PassHooks
from tf_hfwb.keras_compat.fit import Fit
from tf_hfwb.keras_compat.fit_arguments import fit_arguments, has_callbacks_of_others
from tf_hfwb.keras_compat.gradient_observer import GradientObserver, distributions
from tf_hfwb.keras_compat.histogram_bins import Distribution, distribution_of_array
from tf_hfwb.keras_compat.host_base import Host
from tf_hfwb.keras_compat.host_lookup import NotAKerasModelError, host_of
from tf_hfwb.keras_compat.keras_export import export_plain, structure_of_inputs
from tf_hfwb.keras_compat.keras_loading import load_archive, load_shards
from tf_hfwb.keras_compat.loss_recorder import StepRecorder, difference, rate_of
from tf_hfwb.keras_compat.mid_epoch_start import Start
from tf_hfwb.keras_compat.mixed_precision import plain_to_float32, to_float32
from tf_hfwb.keras_compat.preserved_metrics import preserve_metrics
from tf_hfwb.keras_compat.scalar_values import describe_value, to_float
from tf_hfwb.keras_compat.tokenizer_files import texts_of_processing, write_texts
from tf_hfwb.keras_compat.training_variables import name_variables
from tf_hfwb.keras_compat.transformers_files import plain_configuration
from tf_hfwb.keras_compat.transformers_models import (
    call_arguments,
    can_return_loss,
    is_model_class,
    is_of_own_class,
    is_of_transformers,
    label_arguments,
)
from tf_hfwb.keras_compat.transformers_private import trains_with_own_loss

__all__ = [
    "Callback",
    "call_arguments",
    "can_return_loss",
    "is_model_class",
    "is_of_own_class",
    "is_of_transformers",
    "label_arguments",
    "Fit",
    "Distribution",
    "GradientObserver",
    "Host",
    "Logs",
    "NotAKerasModelError",
    "PassHooks",
    "Start",
    "StepRecorder",
    "describe_value",
    "difference",
    "distributions",
    "fit_arguments",
    "forget_epoch_length",
    "export_plain",
    "has_callbacks_of_others",
    "host_of",
    "to_float32",
    "load_archive",
    "load_shards",
    "name_variables",
    "to_float",
    "distribution_of_array",
    "unwrap_single",
    "plain_configuration",
    "plain_to_float32",
    "rate_of",
    "structure_of_inputs",
    "texts_of_processing",
    "trains_with_own_loss",
    "preserve_metrics",
    "write_texts",
]
