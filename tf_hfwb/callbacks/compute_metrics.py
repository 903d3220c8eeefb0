"""``ComputeMetrics``: metrics that need Python, in the middle of a plain ``fit``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from tf_hfwb.data import evaluation_batches
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.batch_runner import BatchRunner
from tf_hfwb.evaluation.computed_metrics import ComputedMetrics
from tf_hfwb.evaluation.metric_values import flat_numbers
from tf_hfwb.evaluation.text_generation import Generator
from tf_hfwb.fit.evaluate_during_fit import EvaluateDuringFit
from tf_hfwb.keras_compat import Logs, fit_arguments, host_of, preserve_metrics, split_batch
from tf_hfwb.step_policies import EverySteps, Never
from tf_hfwb.validation.argument_checks import check_whole_number

_logger = logging.getLogger("tf_hfwb")


class _Prepared(NamedTuple):
    """What an evaluation needs, made once for a model.

    Attributes:
        model: The model.
        generator: Generates text from it; None where its outputs are compared.
        batches: The data, as a ``tf.data.Dataset``.
        runner: Runs the model over them.
    """

    model: Any
    generator: Generator | None
    batches: Any
    runner: BatchRunner


class ComputeMetrics(EvaluateDuringFit):
    """Compute metrics in Python from the predictions over a whole data set, during ``model.fit``.

    The results join the logs of the epoch as ``val_...``: callbacks behind this one (``EarlyStopping``,
    ``ModelCheckpoint``, ``ReduceLROnPlateau``) can monitor them, and they are in the ``History``. A
    :class:`~tf_hfwb.WandbMetricsLogger`, wherever it stands in the list, logs them as ``eval/...`` at the step at which
    they were computed. The training is left exactly as it is, its metrics and random numbers included.

    ``{"f1": ...}`` and ``{"eval_f1": ...}`` are both ``val_f1``, and ``{"overall": {"f1": ...}}`` is
    ``val_overall_f1``. A ``loss`` beside the one that Keras computes from ``validation_data`` is ``val_computed_loss``.

    Args:
        compute_metrics: From an ``EvalPrediction`` (``predictions`` and ``label_ids`` as arrays, or tuples of arrays;
            padded with -100 where batches differ in width) to a dict of metrics.
        dataset: A ``datasets.Dataset`` with tokenised columns, arrays ``(x, y)``, or a batched ``tf.data.Dataset``
            of ``(inputs, labels)``.
        batch_size: Samples that one device predicts at a time.
        eval_freq: ``"epoch"`` for each epoch's end, or a number n for every n steps; then the logs of an epoch hold
            the newest results.
        predict_with_generate: The predictions are token ids that the model generates (see
            :class:`~tf_hfwb.evaluation.text_generation.Generator`), instead of its outputs; of a decoder-only model
            behind the prompt.
        generate_options: For the ``Generator``: ``max_length``, ``num_beams`` and so on.
        preprocess_logits_for_metrics: From the predictions and labels of a batch, as arrays, to what is kept of the
            predictions, to save memory: ``lambda logits, labels: logits.argmax(-1)``.
        batch_eval_metrics: Call ``compute_metrics(prediction, compute_result=...)`` batch by batch; its result counts
            with the last one.
        processing_class: The tokenizer or processor, which says how to pad.
        data_collator: Makes a batch (a dict of arrays) from a list of samples instead.
        prefix: The begin of the results' names: ``"val_"``, or ``"val_other_"`` for another data set.

    Raises:
        SettingError: An argument is none of what is expected.
        DataError: When ``fit`` begins: the data set has no labels, or cannot be used.

    Example:
        >>> import keras, numpy as np
        >>> x, y = np.zeros((4, 4), "float32"), np.zeros(4, "int64")
        >>> right = lambda p: {"accuracy": np.mean(p.predictions.argmax(-1) == p.label_ids)}
        >>> metrics = ComputeMetrics(right, (x, y))
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> history = model.fit(x, y, verbose=0, callbacks=[metrics])
        >>> "val_accuracy" in history.history
        True

    Arguments follow the ``Trainer`` of transformers.
    """

    def __init__(
        self,
        compute_metrics: Callable[..., Mapping[str, Any]],
        dataset: Any,
        *,
        batch_size: int = 8,
        eval_freq: Literal["epoch"] | int = "epoch",
        predict_with_generate: bool = False,
        generate_options: Mapping[str, Any] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        batch_eval_metrics: bool = False,
        processing_class: Any = None,
        data_collator: Any = None,
        prefix: str = "val_",
    ) -> None:
        steps = None
        if eval_freq != "epoch":
            steps = check_whole_number("eval_freq", eval_freq, expected="'epoch' or a number of steps, 1 or more")
        if compute_metrics is None:
            raise SettingError("compute_metrics", None, expected="a function")
        if not prefix.startswith("val_"):
            raise SettingError("prefix", prefix, expected="a word that begins with 'val_', as Keras's metrics do")
        if generate_options and not predict_with_generate:
            raise SettingError("generate_options", generate_options, expected="None, without predict_with_generate")
        policy = Never() if steps is None else EverySteps(steps)
        super().__init__(self._compute, policy, each_epoch=steps is None)
        self._computed = ComputedMetrics(
            compute_metrics, preprocess=preprocess_logits_for_metrics, by_batches=batch_eval_metrics
        )
        self._generate_options = dict(generate_options or {}) if predict_with_generate else None
        self._data = dataset
        self._batch_size = batch_size
        self._data_options = {"processing_class": processing_class, "data_collator": data_collator}
        self._prefix = f"eval_{prefix.removeprefix('val_')}"
        self._prepared: _Prepared | None = None
        self._has_loss_of_keras = self._has_warned = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Make the batches and see whether the model can do what is asked for; once for a model."""
        if self._prepared is None or self._prepared.model is not self.model:
            self._prepared = self._prepare()
        super().on_train_begin(logs)
        self._has_loss_of_keras = fit_arguments(self.model).get("validation_data") is not None

    def _prepare(self) -> _Prepared:
        model = self.model
        generator = None if self._generate_options is None else Generator(model, **self._generate_options)
        batch_size = self._batch_size * host_of(model).num_replicas
        batches = evaluation_batches(self._data, batch_size, model=model, **self._data_options).dataset
        if split_batch(model, batches.element_spec)[1] is None:
            raise DataError(
                "The data set of ComputeMetrics has no labels. Expected them, because compute_metrics compares "
                "predictions with them. Add a column 'labels', or pass (x, y)."
            )
        return _Prepared(model, generator, batches, BatchRunner(model))

    def _compute(self) -> dict[str, Any]:
        prepared = self._prepared
        if prepared is None:  # It is called within a fit only.
            return {}
        began = time.monotonic()
        of_pass = self._computed.begin(None if prepared.generator is None else prepared.generator.with_prompts)
        with preserve_metrics(self.model):
            done = prepared.runner.gather(prepared.batches, of_pass.gathering)
        metrics = {self._named(name): value for name, value in flat_numbers(of_pass.results(done)).items()}
        for log in self._session.evaluations.loggers:
            log(metrics, time.monotonic() - began)
        return metrics

    def _named(self, name: str) -> str:
        """The name with the prefix, which may be there already; none that Keras has given to its own loss."""
        for prefix in (self._prefix, f"val_{self._prefix.removeprefix('eval_')}", "eval_", "val_"):
            if name.startswith(prefix):
                name = name[len(prefix) :]
                break
        if f"{self._prefix}{name}" != "eval_loss" or not self._has_loss_of_keras:
            return f"{self._prefix}{name}"
        if not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "compute_metrics returned a 'loss', and Keras computes val_loss from validation_data. Expected another "
                "name. Keras's stays val_loss, this one is val_computed_loss; this is said once."
            )
        return "eval_computed_loss"
