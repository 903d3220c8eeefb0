"""One pass over a data set: the loss, the metrics that a model was compiled with, predictions and labels."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import (
    PassHooks,
    call_arguments,
    can_return_loss,
    host_of,
    is_of_transformers,
    label_arguments,
    trains_with_own_loss,
)

PADDING = -100  # As the Trainer of transformers pads what it gathers.


@dataclass
class Pass:
    """What a pass over a data set gave.

    Attributes:
        metrics: ``loss`` and the metrics that the model was compiled with; without labels there are none.
        predictions: An array [num_samples, ...], or a tuple of them when the model gives several; None if not asked
            for. Batches that differ in another axis than the first are padded with -100.
        labels: The same of the labels; None without labels.
        inputs: The same of the model's main input; None if not asked for.
        losses: For each sample the loss of its batch, if asked for and known.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: Any = None
    labels: Any = None
    inputs: Any = None
    losses: Any = None


@dataclass(frozen=True)
class Gathering:
    """What is to become of the predictions of a pass.

    Attributes:
        generate: From the inputs of a batch to generated ids [batch, width], which are then the predictions instead of
            the model's outputs.
        preprocess: From a batch's predictions and labels (arrays, or tuples of them) to what is kept as predictions.
        each: Called with each batch, in order.
        keeps: Whether to gather all batches; without, a pass needs no more memory than a batch.
        with_inputs: Whether to keep the model's main input too.
    """

    generate: Callable[[Any], np.ndarray] | None = None
    preprocess: Callable[[Any, Any], Any] | None = None
    each: Callable[[Pass], None] | None = None
    keeps: bool = True
    with_inputs: bool = False


class BatchRunner:
    """Runs a model over data sets, and remembers what it has compiled for that.

    A model of transformers that computes its own loss gives loss and logits in one forward pass, as in the ``Trainer``
    of transformers: labels go in (T5 makes its decoder's inputs of them), and the loss is the mean over the samples of
    the losses of their batches. For any other model Keras evaluates and predicts.

    Args:
        model: A compiled model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._own_loss: _OwnLossStep | None = None

    @property
    def has_own_loss(self) -> bool:
        """Whether the model is one of transformers and computes its loss itself."""
        return trains_with_own_loss(self._model)

    def lacks_labels(self, dataset: Any) -> bool:
        """Whether the model needs labels for its loss, and the data set has none."""
        if not self.has_own_loss or can_return_loss(self._model):
            return False
        return split_batch(self._model, dataset.element_spec)[1] is None

    def evaluate(
        self, dataset: Any, *, predict: bool, gathering: Gathering | None = None, hooks: PassHooks | None = None
    ) -> Pass:
        """Evaluate, and predict on the way if asked to. Metrics of the model are reset and updated.

        Args:
            dataset: A ``tf.data.Dataset`` of ``inputs`` or ``(inputs, labels, ...)``.
            predict: Whether to gather predictions and labels.
            gathering: What to do with them.
            hooks: Called for the pass that evaluates.
        """
        if not predict:
            return self._evaluate(dataset, hooks)
        gathering = gathering or Gathering()
        if self.has_own_loss and gathering.generate is None:
            return self._run_own_loss(dataset, gathering, hooks)
        evaluated = self._evaluate(dataset, hooks)
        done = self.gather(dataset, gathering, evaluated.losses)
        done.metrics = evaluated.metrics
        return done

    def predict(self, dataset: Any, gathering: Gathering | None = None, hooks: PassHooks | None = None) -> Pass:
        """Predict, and evaluate where there are labels; ``hooks`` are called for the pass that predicts."""
        gathering = gathering or Gathering()
        if self.has_own_loss and gathering.generate is None:
            return self._run_own_loss(dataset, gathering, hooks)
        is_labelled = split_batch(self._model, dataset.element_spec)[1] is not None
        evaluated = self._evaluate(dataset) if is_labelled else Pass()
        done = self.gather(dataset, gathering, evaluated.losses, hooks)
        done.metrics = evaluated.metrics
        return done

    def gather(self, dataset: Any, gathering: Gathering, losses: Any = None, hooks: PassHooks | None = None) -> Pass:
        """Predict, and leave out what only an evaluation needs.

        Args:
            dataset: As for :meth:`evaluate`.
            gathering: What to do with the predictions.
            losses: For each sample its loss, where it is known already.
            hooks: Called for the pass.
        """
        if self.has_own_loss and gathering.generate is None:
            return self._run_own_loss(dataset, gathering, hooks)
        return self._predict_batches(dataset, gathering, losses, hooks or PassHooks())

    def _evaluate(self, dataset: Any, hooks: PassHooks | None = None) -> Pass:
        if self.has_own_loss:
            return self._run_own_loss(dataset, None, hooks)
        callbacks = None if hooks is None else hooks.as_callbacks()
        return Pass(dict(self._model.evaluate(dataset, return_dict=True, verbose=0, callbacks=callbacks)))

    def _run_own_loss(self, dataset: Any, gathering: Gathering | None, hooks: PassHooks | None = None) -> Pass:
        import tensorflow as tf

        model, hooks = self._model, hooks or PassHooks()
        batches = int(dataset.cardinality())
        if self._own_loss is None or self._own_loss.metrics is not model.compiled_metrics:
            self._own_loss = _OwnLossStep(model)
        run = self._own_loss.without_predictions
        if gathering is not None:
            run = self._own_loss.with_inputs if gathering.with_inputs else self._own_loss.with_predictions
        losses: list[tuple[float, int]] = []
        total, seen = 0.0, 0
        gathered = _Gathered(gathering)
        hooks.begin()
        with model.distribute_strategy.scope(), contextlib.suppress(StopIteration, tf.errors.OutOfRangeError):
            model.reset_metrics()
            iterator = iter(model.distribute_strategy.experimental_distribute_dataset(dataset))
            for batch in itertools.count():
                if batch != batches:
                    hooks.batch_begin(batch)
                loss, samples, outputs, targets, inputs = run(iterator)
                if loss is not None:
                    losses.append((float(loss), int(samples)))
                    total, seen = total + losses[-1][0], seen + losses[-1][1]
                if gathering is not None:
                    own = None if loss is None else _each_sample(*losses[-1])
                    gathered.add(_arrays(outputs), _arrays(targets), _arrays(inputs), own)
                logs = {"loss": total / seen} if seen else {}
                hooks.batch_end(batch, logs if hooks.kind == "test" else {"outputs": _alone(_arrays(outputs))})
        metrics: dict[str, Any] = {}
        if losses:
            metrics["loss"] = total / seen
            for metric in model.compiled_metrics.metrics:
                result = metric.result()
                result = result if isinstance(result, dict) else {metric.name: result}
                metrics |= {name: value.numpy() for name, value in result.items()}
        done = gathered.whole()
        done.metrics = metrics
        if gathering is None and losses:
            done.losses = np.concatenate([_each_sample(*pair) for pair in losses])
        hooks.end(metrics or None)
        return done

    def _predict_batches(self, dataset: Any, gathering: Gathering, losses: Any, hooks: PassHooks) -> Pass:
        gathered = _Gathered(gathering)
        done = 0
        hooks.begin()
        for inputs, targets, outputs in self._predicted(dataset, gathering.generate, hooks):
            labels = _arrays(_tensors(targets))
            main = _arrays(_tensors(_main_input(self._model, inputs))) if gathering.with_inputs else ()
            samples = _num_samples(inputs)
            own = None if losses is None else losses[done : done + samples]
            done += samples
            gathered.add(outputs, labels, main, own)
        hooks.end()
        return gathered.whole()

    def _predicted(
        self, dataset: Any, generate: Callable[[Any], np.ndarray] | None, hooks: PassHooks
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Inputs, labels and predictions of each batch."""
        ignored = _ignored_outputs(self._model)
        for number, batch in enumerate(dataset):
            hooks.batch_begin(number)
            inputs, targets, _ = split_batch(self._model, batch)
            if generate is not None:
                outputs: tuple[np.ndarray, ...] = (generate(inputs),)
            else:
                tensors = _tensors(host_of(self._model).predict_on_batch(_as_arrays(inputs)), ignored)
                # Under a distribution strategy Keras 3 lets every replica predict the whole batch.
                samples = _num_samples(inputs)
                outputs = tuple(np.asarray(value)[:samples] for value in tensors)
            hooks.batch_end(number, {"outputs": _alone(outputs)})
            yield inputs, targets, outputs


class _Gathered:
    """The batches of a pass so far."""

    def __init__(self, gathering: Gathering | None) -> None:
        self._gathering = gathering or Gathering(keeps=False)
        self._batches: list[Pass] = []

    def add(
        self,
        predictions: tuple[np.ndarray, ...],
        labels: tuple[np.ndarray, ...],
        inputs: tuple[np.ndarray, ...],
        losses: Any,
    ) -> None:
        """One more batch; ``losses`` [batch] or None."""
        batch = Pass({}, _alone(predictions), _alone(labels), _alone(inputs), losses)
        preprocess = self._gathering.preprocess
        if preprocess is not None and predictions:
            batch.predictions = _checked(preprocess(batch.predictions, batch.labels), len(predictions[0]))
        if self._gathering.each is not None:
            self._gathering.each(batch)
        if self._gathering.keeps:
            self._batches.append(batch)

    def whole(self) -> Pass:
        """All batches in one."""
        batches = self._batches
        if not batches:
            return Pass()
        parts = ([getattr(batch, name) for batch in batches] for name in ("predictions", "labels", "inputs", "losses"))
        return Pass({}, *map(_gathered, parts))


def _checked(result: Any, samples: int) -> Any:
    """What ``preprocess_logits_for_metrics`` returned for a batch, as arrays."""
    values = tuple(map(np.asarray, result)) if isinstance(result, (tuple, list)) else (np.asarray(result),)
    if not values or any(value.ndim == 0 or len(value) != samples for value in values):
        raise SettingError(
            "preprocess_logits_for_metrics(logits, labels)",
            [value.shape for value in values] if values else result,
            expected=f"an array, or a tuple of arrays, with the {samples} samples of the batch as first axis",
            advice="Reduce over the other axes only, as with logits.argmax(-1).",
        )
    return _alone(values)


class _OwnLossStep:
    """The forward pass of a transformers model with its labels, compiled."""

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        self.metrics = model.compiled_metrics
        strategy = model.distribute_strategy

        def step(batch: Any) -> Any:
            """The sum of the losses of this replica's samples, their number, the outputs and the labels."""
            inputs, labels, weights = split_batch(model, batch)
            samples = tf.shape(tf.nest.flatten(inputs)[0])[0]
            options = {"return_loss": True} if can_return_loss(model) else {}
            outputs = model(_with_labels(model, inputs, labels), training=False, **options)
            loss = outputs.get("loss")
            if loss is not None:
                loss = tf.cast(loss, tf.float32)
                loss = tf.reduce_mean(loss if weights is None else loss * tf.cast(weights, tf.float32))
                # A replica gets no samples when the last batch has fewer samples than there are replicas.
                loss = tf.where(samples > 0, loss * tf.cast(samples, tf.float32), 0.0)
                if self.metrics.metrics or not self.metrics.built:
                    self.metrics.update_state(*_matched(model, labels, outputs), weights)
            main = _tensors(_main_input(model, inputs))
            return loss, samples, _tensors(outputs, _ignored_outputs(model)), _tensors(labels), main

        def run(iterator: Any, *, predict: bool, with_inputs: bool = False) -> Any:
            loss, samples, *values = strategy.run(step, args=(next(iterator),))
            if loss is not None:
                loss = strategy.reduce("SUM", loss, axis=None)
            samples = strategy.reduce("SUM", samples, axis=None)
            if not with_inputs:
                values[2] = []
            if not predict:
                values = [[], [], []]
            return loss, samples, *([strategy.gather(v, axis=0) for v in tensors] for tensors in values)

        # Fed with the iterator, as Keras does it: batches of different widths share one trace.
        self.with_predictions = tf.function(lambda iterator: run(iterator, predict=True))
        self.with_inputs = tf.function(lambda iterator: run(iterator, predict=True, with_inputs=True))
        self.without_predictions = tf.function(lambda iterator: run(iterator, predict=False))


def split_batch(model: Any, batch: Any) -> tuple[Any, Any, Any]:
    """Inputs, labels and sample weights of a batch, or of the specification of one.

    Labels may stand among the inputs of a transformers model, where ``to_tf_dataset`` may put them.
    """
    if isinstance(batch, tuple):
        inputs, labels, weights = (*batch, None, None)[:3]
        return inputs, labels, weights
    if not (is_of_transformers(model) and isinstance(batch, Mapping)):
        return batch, None, None
    names = [name for name in label_arguments(model) if name in batch]
    inputs = {name: value for name, value in batch.items() if name not in names}
    if len(names) == 1:
        return inputs, batch[names[0]], None
    return inputs, {name: batch[name] for name in names} or None, None


def _with_labels(model: Any, inputs: Any, labels: Any) -> Any:
    """The inputs and labels as the arguments of ``model.call``, as ``test_step`` of transformers joins them."""
    arguments = call_arguments(model)
    if labels is None:
        return inputs
    if not isinstance(inputs, Mapping):
        inputs = {arguments[0]: inputs}
    if not isinstance(labels, Mapping):
        labels = dict.fromkeys(label_arguments(model)[:1], labels)
    names = {output: label for label, output in model.get_label_to_output_name_mapping().items()}
    labels = {names.get(name, name): value for name, value in labels.items()}
    return {**{name: value for name, value in labels.items() if name in arguments}, **inputs}


def _matched(model: Any, labels: Any, outputs: Any) -> tuple[Any, Any]:
    """Labels and the outputs that metrics compare them with, as ``test_step`` of transformers matches them."""
    if not isinstance(labels, Mapping):
        return labels, next(value for name, value in outputs.items() if name != "loss")
    names = model.get_label_to_output_name_mapping()
    labels = {names.get(name, name): value for name, value in labels.items()}
    return labels, {name: outputs[name] for name in labels}


def _ignored_outputs(model: Any) -> set[str]:
    return {"loss", *getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", ())}


def _num_samples(inputs: Any) -> int:
    import tensorflow as tf

    return int(tf.nest.flatten(inputs)[0].shape[0])


def _as_arrays(inputs: Any) -> Any:
    """Inputs as every backend of Keras 3 takes them."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda value: value.numpy() if isinstance(value, tf.Tensor) else value, inputs)


def _tensors(outputs: Any, ignored: Collection[str] = ()) -> list[Any]:
    """The outputs that are tensors; tuples inside are hidden states or caches of layers, which no metric takes."""
    if isinstance(outputs, Mapping):
        outputs = [value for name, value in outputs.items() if name not in ignored]
    elif not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    return [value for value in outputs if value is not None and not isinstance(value, (list, tuple))]


def _main_input(model: Any, inputs: Any) -> Any:
    """What a tokenizer or a feature extractor made for the model; of a model that does not tell, all inputs."""
    return inputs.get(getattr(model, "main_input_name", None), inputs) if isinstance(inputs, Mapping) else inputs


def _each_sample(total: float, samples: int) -> np.ndarray:
    """For each sample of a batch the mean of the batch."""
    return np.full(samples, total / max(samples, 1))


def _arrays(tensors: Collection[Any]) -> tuple[np.ndarray, ...]:
    return tuple(map(np.asarray, tensors))


def _alone(values: tuple[np.ndarray, ...]) -> Any:
    """The one among them, or all; None without any."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values


def _gathered(batches: list[Any]) -> Any:
    if batches[0] is None:
        return None
    rows = [batch if isinstance(batch, tuple) else (batch,) for batch in batches]
    return _alone(tuple(_concatenated(list(column)) for column in zip(*rows, strict=True)))


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays along the first axis, all other axes padded to the widest."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0) if arrays[0].ndim > 1 else ()
    padded = []
    for array in arrays:
        missing = [(0, 0), *((0, int(wide) - own) for wide, own in zip(shape, array.shape[1:], strict=True))]
        padded.append(np.pad(array, missing, constant_values=PADDING) if any(n for _, n in missing) else array)
    return np.concatenate(padded)
