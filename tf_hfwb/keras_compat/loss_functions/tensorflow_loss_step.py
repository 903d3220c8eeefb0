"""The steps of a Keras 3 model on TensorFlow with a user's loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat.loss_functions.keras3_loss_step import Keras3LossStep


class TensorFlowLossStep(Keras3LossStep):
    """What Keras's own steps do, with the loss of the function. Arguments as of the base class."""

    @property
    def methods(self) -> dict[str, Callable[..., Any]]:
        """What replaces the model's methods, by their names."""
        return {"train_step": self.train, "test_step": self.test, **self._default_mode}

    def train(self, data: Any) -> dict[str, Any]:
        """One step of training."""
        import tensorflow as tf

        model = self._model
        with tf.GradientTape() as tape:
            batch = self.loss_of_batch(data, training=True)
            # The gradients of all replicas are added up.
            loss = self._total(batch) / tf.distribute.get_strategy().num_replicas_in_sync
            loss = model.optimizer.scale_loss(loss)
        weights = model.trainable_weights
        model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return self._metrics(batch)

    def test(self, data: Any) -> dict[str, Any]:
        """One step of an evaluation."""
        batch = self.loss_of_batch(data, training=False)
        self._total(batch)
        return self._metrics(batch)
