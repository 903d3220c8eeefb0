"""The compiled forward pass of a transformers model that computes its own loss."""

from __future__ import annotations

from typing import Any

from tf_hfwb.evaluation.batch_parts import ignored_outputs, main_input, map_nested, predictions_in, tensors_in
from tf_hfwb.keras_compat import can_return_loss, join_arguments, loss_step_of, match_labels, split_batch


class OwnLossStep:
    """Compiled functions from an iterator to what the next batch gives.

    Each returns the sum of the samples' losses (None without a loss), the number of samples, and lists of tensors:
    outputs, labels and main input, which are empty where they are not asked for.

    Args:
        model: The model, compiled.
        ignored: The names of outputs that are not predictions; None for those that its configuration names.

    Attributes:
        ignored: The same.
        metrics: The container of the model's compiled metrics that the functions update; another ``compile`` makes
            another one.
        loss_step: The steps with a user's loss that were put into the model; None without any.
    """

    def __init__(self, model: Any, ignored: frozenset[str] | None) -> None:
        import tensorflow as tf

        self._model = model
        self.ignored = ignored
        self.metrics = model.compiled_metrics
        self.loss_step = loss_step_of(model)
        # Given the iterator and not a batch, as Keras does it: batches of different widths then share one trace.
        self.with_predictions = tf.function(lambda iterator: self._run(iterator, predict=True))
        self.with_inputs = tf.function(lambda iterator: self._run(iterator, predict=True, with_inputs=True))
        self.without_predictions = tf.function(lambda iterator: self._run(iterator, predict=False))

    def _run(self, iterator: Any, *, predict: bool, with_inputs: bool = False) -> Any:
        strategy = self._model.distribute_strategy
        loss, samples, outputs, labels, inputs = strategy.run(self._replica_step, args=(next(iterator),))
        if loss is not None:
            loss = strategy.reduce("SUM", loss, axis=None)
        samples = strategy.reduce("SUM", samples, axis=None)
        gathered = [outputs if predict else [], labels if predict else [], inputs if with_inputs else []]
        return loss, samples, *(map_nested(lambda one: strategy.gather(one, axis=0), tensors) for tensors in gathered)

    def _replica_step(self, batch: Any) -> Any:
        """The sum of the losses of this replica's samples, their number, the outputs, the labels and the main input."""
        import tensorflow as tf

        model = self._model
        inputs, labels, weights = split_batch(model, batch)
        samples = tf.shape(tf.nest.flatten(inputs)[0])[0]
        loss, outputs = self._loss_and_outputs(batch, inputs, labels)
        if loss is not None:
            loss = tf.cast(loss, tf.float32)
            if weights is not None and self.loss_step is None:  # A user's loss has used them already.
                loss *= tf.cast(weights, tf.float32)
            loss = tf.reduce_mean(loss)
            # A replica gets no samples when the last batch has fewer samples than there are replicas.
            loss = tf.where(samples > 0, loss * tf.cast(samples, tf.float32), 0.0)
            if self.metrics.metrics or not self.metrics.built:
                self.metrics.update_state(*match_labels(model, labels, outputs), weights)
        predictions = predictions_in(outputs, ignored_outputs(model, self.ignored))
        return loss, samples, predictions, tensors_in(labels), tensors_in(main_input(model, inputs))

    def _loss_and_outputs(self, batch: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """The loss, None without labels, and the outputs; by the function that was put into the model, if any."""
        model = self._model
        has_own = can_return_loss(model)
        if self.loss_step is not None and (labels is not None or has_own):
            found = self.loss_step.loss_of_batch(batch, training=False, needs_outputs=True)
            return found.loss, found.outputs
        options = {"return_loss": True} if has_own else {}
        outputs = model(join_arguments(model, inputs, labels), training=False, **options)
        return outputs.get("loss"), outputs
