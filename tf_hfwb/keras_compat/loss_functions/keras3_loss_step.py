"""What the steps of Keras 3 models with a user's loss share, whatever the backend."""

from __future__ import annotations

from typing import Any

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossOfBatch, LossStep


class Keras3LossStep(LossStep):
    """The steps of a Keras 3 model; arguments as of the base class."""

    def __init__(self, model: Any, function: LossFunction) -> None:
        super().__init__(model, function)
        self._default_mode = keras3_private.with_default_mode(model, self._mode)

    def _has_compiled_metrics(self) -> bool:
        return keras3_private.has_compiled_metrics(self._model)

    def _total(self, batch: LossOfBatch) -> Any:
        """The loss with what the model's layers add to it, which the loss tracker gets."""
        import keras

        ops = keras.ops
        added = [ops.sum(ops.cast(loss, "float32")) for loss in self._model.losses]
        total = sum(added, ops.mean(ops.cast(batch.loss, "float32")))
        samples = ops.shape(keras.tree.flatten(batch.inputs)[0])[0]
        keras3_private.loss_tracker(self._model).update_state(total, sample_weight=samples)
        return total

    def _count_samples(self, inputs: Any) -> Any:
        import keras

        return keras.ops.cast(keras.ops.shape(keras.tree.flatten(inputs)[0])[0], "float32")

    def _metrics(self, batch: LossOfBatch) -> dict[str, Any]:
        model = self._model
        results: dict[str, Any] = model.compute_metrics(
            batch.inputs, batch.labels, batch.outputs, sample_weight=batch.weights
        )
        return results
