"""The compiled forward pass of a transformers model that computes its own loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_hfwb.evaluation.batch_parts import ignored_outputs, main_input, split_batch, tensors_in
from tf_hfwb.keras_compat import call_arguments, can_return_loss, label_arguments


class OwnLossStep:
    """Compiled functions from an iterator to what the next batch gives.

    Each returns the sum of the samples' losses (None without a loss), the number of samples, and lists of tensors:
    outputs, labels and main input, which are empty where they are not asked for.

    Args:
        model: The model, compiled.

    Attributes:
        metrics: The container of the model's compiled metrics that the functions update; another ``compile`` makes
            another one.
    """

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        self._model = model
        self.metrics = model.compiled_metrics
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
        return loss, samples, *([strategy.gather(tensor, axis=0) for tensor in tensors] for tensors in gathered)

    def _replica_step(self, batch: Any) -> Any:
        """The sum of the losses of this replica's samples, their number, the outputs, the labels and the main input."""
        import tensorflow as tf

        model = self._model
        inputs, labels, weights = split_batch(model, batch)
        samples = tf.shape(tf.nest.flatten(inputs)[0])[0]
        options = {"return_loss": True} if can_return_loss(model) else {}
        outputs = model(_join_arguments(model, inputs, labels), training=False, **options)
        loss = outputs.get("loss")
        if loss is not None:
            loss = tf.cast(loss, tf.float32)
            loss = tf.reduce_mean(loss if weights is None else loss * tf.cast(weights, tf.float32))
            # A replica gets no samples when the last batch has fewer samples than there are replicas.
            loss = tf.where(samples > 0, loss * tf.cast(samples, tf.float32), 0.0)
            if self.metrics.metrics or not self.metrics.built:
                self.metrics.update_state(*_match_labels(model, labels, outputs), weights)
        predictions = tensors_in(outputs, ignored_outputs(model))
        return loss, samples, predictions, tensors_in(labels), tensors_in(main_input(model, inputs))


def _join_arguments(model: Any, inputs: Any, labels: Any) -> Any:
    """The inputs and labels as the arguments of ``model.call``, as ``test_step`` of transformers joins them."""
    if labels is None:
        return inputs
    arguments = call_arguments(model)
    if not isinstance(inputs, Mapping):
        inputs = {arguments[0]: inputs}
    if not isinstance(labels, Mapping):
        labels = dict.fromkeys(label_arguments(model)[:1], labels)
    # Labels may have the names of the outputs that they are compared with.
    label_of = {output: label for label, output in model.get_label_to_output_name_mapping().items()}
    labels = {label_of.get(name, name): value for name, value in labels.items()}
    return {**{name: value for name, value in labels.items() if name in arguments}, **inputs}


def _match_labels(model: Any, labels: Any, outputs: Any) -> tuple[Any, Any]:
    """Labels and the outputs that metrics compare them with, as ``test_step`` of transformers matches them."""
    if not isinstance(labels, Mapping):
        return labels, next(value for name, value in outputs.items() if name != "loss")
    output_of = model.get_label_to_output_name_mapping()
    labels = {output_of.get(name, name): value for name, value in labels.items()}
    return labels, {name: outputs[name] for name in labels}
