"""The loss of a Keras 3 model on JAX, computed by a user's function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tf_hfwb.keras_compat.loss_functions.keras3_loss_step import Keras3LossStep


class JAXLossStep(Keras3LossStep):
    """What Keras's own steps differentiate, with the loss of the function. Arguments as of the base class."""

    @property
    def methods(self) -> dict[str, Callable[..., Any]]:
        """What replaces the model's methods, by their names."""
        return {"compute_loss_and_updates": self.compute, **self._default_mode}

    def compute(
        self,
        trainable_variables: Sequence[Any],
        non_trainable_variables: Sequence[Any],
        metrics_variables: Sequence[Any],
        x: Any,
        y: Any,
        sample_weight: Any,
        training: bool = False,
        optimizer_variables: Sequence[Any] | None = None,
    ) -> Any:
        """The loss to differentiate, and beside it the loss, the outputs and the variables that have changed.

        Args:
            trainable_variables: Values of the model's variables.
            non_trainable_variables: The same of the others.
            metrics_variables: The same of its metrics.
            x: Inputs.
            y: Labels, or None.
            sample_weight: Weights, or None.
            training: Whether it is a step of training.
            optimizer_variables: Values of the optimizer's variables, for the loss scale.
        """
        import keras

        model, ops = self._model, keras.ops
        changing = [*model.non_trainable_variables, *model.metrics_variables]
        values = [*non_trainable_variables, *metrics_variables]
        mapping = [*zip(model.trainable_variables, trainable_variables, strict=True)]
        mapping += zip(changing, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            batch = self.loss_of_batch((x, y, sample_weight), training=training)
            total = ops.mean(ops.cast(batch.loss, "float32"))
            for one in model.losses:
                total = total + ops.sum(ops.cast(one, "float32"))
        new = [scope.get_current_value(variable) for variable in changing]
        cut = len(model.non_trainable_variables)
        scaled = total
        if training and optimizer_variables is not None:
            optimizer_mapping = [*zip(model.optimizer.variables, optimizer_variables, strict=True)]
            with keras.StatelessScope(state_mapping=optimizer_mapping):
                scaled = model.optimizer.scale_loss(total)
        return scaled, (total, batch.outputs, new[:cut], new[cut:])
