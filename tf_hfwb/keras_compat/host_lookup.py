"""The one place that asks which Keras a model belongs to."""

from __future__ import annotations

import importlib
from typing import Any

from tf_hfwb.errors import SettingError, TFHFWBError
from tf_hfwb.keras_compat.host_base import Host
from tf_hfwb.keras_compat.keras3_host import Keras3Host
from tf_hfwb.keras_compat.tf_keras_host import TFKerasHost


class NotAKerasModelError(TFHFWBError, TypeError):
    """The object that was given as a model is none of tf_keras or Keras 3."""


def host_of(model: Any) -> Host:
    """The model seen through its Keras.

    Keras 3 works on TensorFlow, JAX and PyTorch. On PyTorch an export for serving, ``xla`` and ``tf32`` are refused.

    Raises:
        NotAKerasModelError: It belongs to neither tf_keras nor Keras 3.
        SettingError: It belongs to Keras 3 on a backend that is not supported.
    """
    for ancestor in type(model).__mro__:
        package = ancestor.__module__.partition(".")[0]
        if package == "tf_keras":
            return TFKerasHost(model)
        if package == "keras":
            return _keras3_host_class()(model)
    raise NotAKerasModelError(
        f"model={type(model).__module__}.{type(model).__qualname__} is not a Keras model. Expected a model of tf_keras "
        "(transformers' TF classes are) or of Keras 3. For a PyTorch model use the Trainer of transformers."
    )


def _keras3_host_class() -> type[Keras3Host]:
    """The class for the backend; the modules of the others need what may not be installed."""
    backend = importlib.import_module("keras").backend.backend()
    if backend == "tensorflow":
        from tf_hfwb.keras_compat.keras3_tensorflow_host import Keras3TensorFlowHost

        return Keras3TensorFlowHost
    if backend == "jax":
        from tf_hfwb.keras_compat.keras3_jax_host import Keras3JAXHost

        return Keras3JAXHost
    if backend == "torch":
        from tf_hfwb.keras_compat.keras3_torch_host import Keras3TorchHost

        return Keras3TorchHost
    raise SettingError(
        "KERAS_BACKEND",
        backend,
        expected="'tensorflow', 'jax' or 'torch': tf_hfwb does not know how Keras trains on another one",
        advice="Set KERAS_BACKEND before Keras is imported.",
    )
