"""The steps of a Keras 3 model on PyTorch with a user's loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat.loss_functions.keras3_loss_step import Keras3LossStep


class TorchLossStep(Keras3LossStep):
    """What Keras's own steps do, with the loss of the function. Arguments as of the base class."""

    @property
    def methods(self) -> dict[str, Callable[..., Any]]:
        """What replaces the model's methods, by their names."""
        return {"train_step": self.train, "test_step": self.test, **self._default_mode}

    def train(self, data: Any) -> dict[str, Any]:
        """One step of training."""
        import torch

        model = self._model
        model.zero_grad()
        batch = self.loss_of_batch(data, training=True)
        model.optimizer.scale_loss(self._total(batch)).backward()
        weights = model.trainable_weights
        gradients = [weight.value.grad for weight in weights]
        with torch.no_grad():
            model.optimizer.apply(gradients, weights)
        return self._metrics(batch)

    def test(self, data: Any) -> dict[str, Any]:
        """One step of an evaluation."""
        batch = self.loss_of_batch(data, training=False)
        self._total(batch)
        return self._metrics(batch)
