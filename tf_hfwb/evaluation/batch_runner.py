"""``BatchRunner``: runs a model over data sets, for its loss, its compiled metrics and its predictions."""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tf_hfwb.evaluation.batch_parts import (
    as_arrays,
    ignored_outputs,
    main_input,
    map_nested,
    num_samples,
    predictions_in,
    tensors_in,
    to_arrays,
)
from tf_hfwb.evaluation.prediction_pass import BatchGatherer, Gathering, Pass, repeat_loss, unpack_single
from tf_hfwb.evaluation.transformers_loss_step import OwnLossStep
from tf_hfwb.keras_compat import (
    PassHooks,
    can_return_loss,
    host_of,
    loss_step_of,
    pass_prepared_inputs,
    prepared_batches,
    prepares_inputs,
    split_batch,
    trains_with_own_loss,
)


class BatchRunner:
    """Runs a model over data sets, and keeps what it has compiled for that.

    A model of transformers that computes its own loss gives loss and logits in one forward pass, as in the ``Trainer``
    of transformers: labels go in (T5 makes its decoder's inputs of them), and the loss is the mean over the samples of
    the losses of their batches. For any other model Keras evaluates and predicts.

    Args:
        model: A compiled model.
    """

    def __init__(self, model: Any) -> None:
        host_of(model).report_metrics_once()
        pass_prepared_inputs(model)
        self._model = model
        self._own_loss: OwnLossStep | None = None

    @property
    def has_own_loss(self) -> bool:
        """Whether the model is one of transformers and computes its loss itself."""
        return trains_with_own_loss(self._model)

    def lacks_labels(self, dataset: Any) -> bool:
        """Whether the model needs labels for its loss, and the data set has none."""
        if not self.has_own_loss or can_return_loss(self._model) or loss_step_of(self._model) is not None:
            return False
        return not self._is_labelled(dataset)

    def evaluate(
        self, dataset: Any, *, predict: bool, gathering: Gathering | None = None, hooks: PassHooks | None = None
    ) -> Pass:
        """Evaluate, and predict too if asked to. The model's metrics are reset and updated.

        Args:
            dataset: Batches of ``evaluation_batches``: ``inputs`` or ``(inputs, labels, ...)``.
            predict: Whether to gather predictions and labels.
            gathering: What to do with them.
            hooks: Called for the pass that evaluates.
        """
        if not predict:
            return self._evaluate(dataset, hooks)
        gathering = gathering or Gathering()
        if self._predicts_with_loss(gathering):
            return self._run_own_loss(dataset, gathering, hooks)
        evaluated = self._evaluate(dataset, hooks)
        predicted = self.gather(dataset, gathering, evaluated.losses)
        predicted.metrics = evaluated.metrics
        return predicted

    def predict(self, dataset: Any, gathering: Gathering | None = None, hooks: PassHooks | None = None) -> Pass:
        """Predict, and evaluate where there are labels; ``hooks`` are called for the pass that predicts."""
        gathering = gathering or Gathering()
        if self._predicts_with_loss(gathering):
            return self._run_own_loss(dataset, gathering, hooks)
        evaluated = self._evaluate(dataset) if self._is_labelled(dataset) else Pass()
        predicted = self.gather(dataset, gathering, evaluated.losses, hooks)
        predicted.metrics = evaluated.metrics
        return predicted

    def gather(self, dataset: Any, gathering: Gathering, losses: Any = None, hooks: PassHooks | None = None) -> Pass:
        """Predict, and leave out what only an evaluation needs.

        Args:
            dataset: As for :meth:`evaluate`.
            gathering: What to do with the predictions.
            losses: For each sample its loss, where it is known already.
            hooks: Called for the pass.
        """
        if self._predicts_with_loss(gathering):
            return self._run_own_loss(dataset, gathering, hooks)
        return self._run_predict(dataset, gathering, losses, hooks or PassHooks())

    def _is_labelled(self, dataset: Any) -> bool:
        return split_batch(self._model, dataset.element_spec)[1] is not None

    def _predicts_with_loss(self, gathering: Gathering) -> bool:
        """Whether the forward pass that computes the loss gives the predictions, too."""
        return self.has_own_loss and gathering.generate is None

    def _evaluate(self, dataset: Any, hooks: PassHooks | None = None) -> Pass:
        if self.has_own_loss:
            return self._run_own_loss(dataset, None, hooks)
        callbacks = None if hooks is None else hooks.as_callbacks()
        return Pass(dict(self._model.evaluate(dataset, return_dict=True, verbose=0, callbacks=callbacks)))

    # -- a model that computes its own loss ------------------------------------------------------------------------

    def _run_own_loss(self, dataset: Any, gathering: Gathering | None, hooks: PassHooks | None = None) -> Pass:
        import tensorflow as tf

        model, hooks = self._model, hooks or PassHooks()
        run = self._own_loss_function(gathering)
        num_batches = int(dataset.cardinality())
        losses: list[np.ndarray] = []
        total, seen = 0.0, 0
        gatherer = BatchGatherer(gathering)
        hooks.begin()
        with model.distribute_strategy.scope(), contextlib.suppress(StopIteration, tf.errors.OutOfRangeError):
            model.reset_metrics()
            iterator = iter(model.distribute_strategy.experimental_distribute_dataset(dataset))
            for index in itertools.count():
                if index != num_batches:
                    hooks.batch_begin(index)
                loss, samples, outputs, labels, inputs = run(iterator)
                batch_losses = None
                if loss is not None:
                    total, seen = total + float(loss), seen + int(samples)
                    batch_losses = repeat_loss(float(loss), int(samples))
                    losses.append(batch_losses)
                predictions = to_arrays(outputs)
                if gathering is not None:
                    gatherer.add(predictions, to_arrays(labels), to_arrays(inputs), batch_losses)
                is_test = hooks.kind == "test"
                logs = {"loss": total / seen} if seen else {}
                hooks.batch_end(index, logs if is_test else {"outputs": unpack_single(predictions)})
        done = gatherer.result()
        done.metrics = {"loss": total / seen, **self._compiled_metrics()} if losses else {}
        if gathering is None and losses:
            done.losses = np.concatenate(losses)
        hooks.end(done.metrics or None)
        return done

    def _own_loss_function(self, gathering: Gathering | None) -> Callable[[Any], Any]:
        """The compiled function; another loss, or the metrics of another ``compile``, need another one."""
        own, model = self._own_loss, self._model
        if own is None or own.metrics is not model.compiled_metrics or own.loss_step is not loss_step_of(model):
            own = self._own_loss = OwnLossStep(model, None if gathering is None else gathering.ignored)
        if gathering is None:
            return own.without_predictions
        if own.ignored != gathering.ignored:
            own = self._own_loss = OwnLossStep(model, gathering.ignored)
        return own.with_inputs if gathering.with_inputs else own.with_predictions

    def _compiled_metrics(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for metric in self._model.compiled_metrics.metrics:
            result = metric.result()
            results = result if isinstance(result, dict) else {metric.name: result}
            values |= {name: value.numpy() for name, value in results.items()}
        return values

    # -- any other model -------------------------------------------------------------------------------------------

    def _run_predict(self, dataset: Any, gathering: Gathering, losses: Any, hooks: PassHooks) -> Pass:
        gatherer = BatchGatherer(gathering)
        num_done = 0
        hooks.begin()
        for inputs, labels, predictions in self._predict_batches(dataset, gathering, hooks):
            main = to_arrays(tensors_in(main_input(self._model, inputs))) if gathering.with_inputs else ()
            num_before, num_done = num_done, num_done + num_samples(inputs)
            batch_losses = None if losses is None else losses[num_before:num_done]
            gatherer.add(predictions, to_arrays(tensors_in(labels)), main, batch_losses)
        hooks.end()
        return gatherer.result()

    def _predict_batches(
        self, dataset: Any, gathering: Gathering, hooks: PassHooks
    ) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
        """Inputs, as they were, labels and predictions of each batch."""
        ignored = ignored_outputs(self._model, gathering.ignored)
        for index, (raw, batch) in enumerate(self._prepared(dataset)):
            hooks.batch_begin(index)
            inputs, labels, _ = split_batch(self._model, batch)
            if gathering.generate is not None:
                predictions: tuple[Any, ...] = (gathering.generate(raw),)
            else:
                outputs = predictions_in(host_of(self._model).predict_on_batch(as_arrays(inputs)), ignored)
                # Under a distribution strategy Keras 3 lets every replica predict the whole batch.
                rows = slice(num_samples(inputs))
                predictions = map_nested(operator.itemgetter(rows), to_arrays(outputs))
            hooks.batch_end(index, {"outputs": unpack_single(predictions)})
            yield raw, labels, predictions

    def _prepared(self, dataset: Any) -> Iterator[tuple[Any, Any]]:
        """The inputs of each batch as they were, and the batch as the model takes it."""
        if not prepares_inputs(self._model):
            yield from ((split_batch(self._model, batch)[0], batch) for batch in dataset)
            return
        for raw, batch in prepared_batches(self._model, dataset):
            yield split_batch(self._model, raw)[0], batch
