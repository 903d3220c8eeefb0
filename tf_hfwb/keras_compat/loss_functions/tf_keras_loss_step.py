"""The steps of a tf_keras model with a user's loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat import tf_keras_private
from tf_hfwb.keras_compat.batch_structure import match_labels
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossOfBatch, LossStep
from tf_hfwb.keras_compat.transformers_models import is_of_transformers


class TFKerasLossStep(LossStep):
    """The loss goes through a container of compiled losses, which scales it for replicas and keeps its mean.

    Args:
        model: A compiled model; its own container is replaced.
        function: The function.

    Attributes:
        replaced: The model's own container.
    """

    def __init__(self, model: Any, function: LossFunction) -> None:
        super().__init__(model, function)
        self.replaced = model.compiled_loss
        with model.distribute_strategy.scope():
            self._container = type(self.replaced)(_given_losses)
        self._default_mode = tf_keras_private.with_default_mode(model, self._mode)

    def _has_compiled_metrics(self) -> bool:
        return bool(self._compiled.get("metrics") or self._compiled.get("weighted_metrics"))

    @property
    def methods(self) -> dict[str, Callable[..., Any]]:
        """What replaces the model's methods, by their names."""
        return {"train_step": self.train, "test_step": self.test, **self._default_mode}

    def put_in(self) -> None:
        """Let the model use these steps."""
        super().put_in()
        object.__setattr__(self._model, "compiled_loss", self._container)

    def take_out(self) -> None:
        """Let the model use its own again."""
        super().take_out()
        if self._model.compiled_loss is self._container:  # It may have been compiled again.
            object.__setattr__(self._model, "compiled_loss", self.replaced)

    def train(self, data: Any) -> dict[str, Any]:
        """One step of training."""
        import tensorflow as tf

        model = self._model
        with tf.GradientTape() as tape:
            batch = self.loss_of_batch(data, training=True)
            loss = self._total(batch)
        model.optimizer.minimize(loss, model.trainable_variables, tape=tape)
        return self._metrics(batch)

    def test(self, data: Any) -> dict[str, Any]:
        """One step of an evaluation."""
        batch = self.loss_of_batch(data, training=False)
        self._total(batch)
        return self._metrics(batch)

    def _total(self, batch: LossOfBatch) -> Any:
        """The loss to minimize. The container weights its mean by samples, so that it gets a loss for each of them."""
        import tensorflow as tf

        loss = tf.reduce_mean(tf.cast(batch.loss, tf.float32))
        losses = tf.fill(tf.shape(tf.nest.flatten(batch.inputs)[0])[:1], loss)
        return self._container(losses, losses, regularization_losses=self._model.losses)

    def _count_samples(self, inputs: Any) -> Any:
        import tensorflow as tf

        return tf.cast(tf.shape(tf.nest.flatten(inputs)[0])[0], tf.float32)

    def _metrics(self, batch: LossOfBatch) -> dict[str, Any]:
        model = self._model
        if self._has_metrics and batch.labels is not None:
            labels, outputs = batch.labels, batch.outputs
            if is_of_transformers(model):
                labels, outputs = match_labels(model, labels, outputs)
            model.compiled_metrics.update_state(labels, outputs, batch.weights)
        results: dict[str, Any] = model.get_metrics_result()
        return results


def _given_losses(losses: Any, same: Any) -> Any:
    """What the container is compiled with: the losses that it gets."""
    return same
