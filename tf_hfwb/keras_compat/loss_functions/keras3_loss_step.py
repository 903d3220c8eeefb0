"""What the steps of Keras 3 models with a user's loss share, whatever the backend."""

from __future__ import annotations

from typing import Any

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep


class Keras3LossStep(LossStep):
    """The steps of a Keras 3 model; arguments as of the base class."""

    def __init__(self, model: Any, function: LossFunction) -> None:
        super().__init__(model, function)
        self._default_mode = keras3_private.with_default_mode(model, self._mode)

    def _has_compiled_metrics(self) -> bool:
        return keras3_private.has_compiled_metrics(self._model)
