"""The one seam to tf_keras and Keras 3: no other file asks which Keras a model belongs to.

* ``callback.py``: the callback base class that both accept.
* ``host.py``: what callbacks need to know of a model; ``tf_keras_host.py``, ``keras3_host.py``: how each Keras tells;
  ``hosts.py``: which of them it is. ``losses.py``: the model's loss, sample by sample.
* ``recorder.py``: the loss of every step, recorded in the training graph; ``fit.py``: what callbacks of a fit share.
* ``observer.py``, ``distributions.py``: the gradients of a step, summed up in the training graph.
* ``variables.py``, ``snapshot.py``: what else than weights training changes, and its values as of now.
* ``transformers_files.py``, ``keras_files.py``, ``texts.py``: a model in a checkpoint's directory;
  ``keras_layout.py``: what Keras would write of it, and where.
* ``keras_loading.py``: a plain model from its files; ``safe_config.py``, ``archive_safety.py``, ``hdf5_safety.py``:
  what may be in them.
* ``running.py``: what the running ``fit`` was called with; ``undisturbed.py``: an evaluation in the middle of it;
  ``relay.py``: the hooks of one that is not Keras's.
* ``transformers_models.py``: whether a model is of transformers, and computes its loss itself.
* ``precision.py``: a model that computes in float32; ``saved_model.py``: a plain one as a SavedModel.
* ``position.py``: begin the next training in the middle of an epoch; ``epochs.py``: epochs of different lengths.
"""

from tf_hfwb.keras_compat.callback import Callback, Logs
from tf_hfwb.keras_compat.distributions import Distribution, of_array
from tf_hfwb.keras_compat.epochs import forget_epoch_length
from tf_hfwb.keras_compat.fit import Fit
from tf_hfwb.keras_compat.host import Host, described, number
from tf_hfwb.keras_compat.hosts import NotAKerasModelError, host_of
from tf_hfwb.keras_compat.keras_loading import load_archive, load_shards
from tf_hfwb.keras_compat.losses import only
from tf_hfwb.keras_compat.observer import GradientObserver, distributions
from tf_hfwb.keras_compat.position import Start
from tf_hfwb.keras_compat.precision import in_float32, plain_in_float32
from tf_hfwb.keras_compat.recorder import StepRecorder, difference, rate_of
from tf_hfwb.keras_compat.relay import PassHooks
from tf_hfwb.keras_compat.running import fit_arguments, has_callbacks_of_others
from tf_hfwb.keras_compat.saved_model import export_plain, structure_of_inputs
from tf_hfwb.keras_compat.texts import texts_of_processing, write_texts
from tf_hfwb.keras_compat.transformers_files import plain_configuration
from tf_hfwb.keras_compat.transformers_models import (
    call_arguments,
    can_return_loss,
    is_of_transformers,
    label_arguments,
)
from tf_hfwb.keras_compat.undisturbed import undisturbed_metrics
from tf_hfwb.keras_compat.variables import named

__all__ = [
    "Callback",
    "call_arguments",
    "can_return_loss",
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
    "described",
    "difference",
    "distributions",
    "fit_arguments",
    "forget_epoch_length",
    "export_plain",
    "has_callbacks_of_others",
    "host_of",
    "in_float32",
    "load_archive",
    "load_shards",
    "named",
    "number",
    "of_array",
    "only",
    "plain_configuration",
    "plain_in_float32",
    "rate_of",
    "structure_of_inputs",
    "texts_of_processing",
    "undisturbed_metrics",
    "write_texts",
]
