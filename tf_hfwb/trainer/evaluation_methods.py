"""The methods of a trainer that evaluate, in the pieces that helpers of transformers' examples call and override."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tf_hfwb.data import Batches
from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.metric_values import flat_numbers
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.batch_loader import BatchLoader, as_loader
from tf_hfwb.trainer.computation_settings import computing_evaluation
from tf_hfwb.trainer.dataset_evaluation import (
    DatasetEvaluation,
    EvaluationPlan,
    check_best_metric,
    prepare_callbacks,
    with_rates,
)
from tf_hfwb.trainer.extension_points import ExtensionPoints
from tf_hfwb.trainer.fit_callbacks import check_trainer_callbacks, keras_callbacks, may_add_metrics
from tf_hfwb.trainer.memory_metrics import MemoryMetrics
from tf_hfwb.trainer.overridden_methods import is_overridden
from tf_hfwb.trainer.trainer_batches import datasets_by_name, named_dataset
from tf_hfwb.trainer.trainer_events.prediction_steps import PredictionSteps

if TYPE_CHECKING:
    from transformers.trainer_utils import EvalLoopOutput, PredictionOutput


class EvaluationPoints(ExtensionPoints):
    """How a trainer evaluates and predicts.

    Attributes:
        compute_metrics: The user's metrics; None for those of the model alone.
        preprocess_logits_for_metrics: What is kept of predictions.

    Names, arguments and return values follow ``transformers.Trainer``.
    """

    compute_metrics: Callable[..., Mapping[str, float]] | None
    preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None
    _evaluation: DatasetEvaluation
    _memory: MemoryMetrics
    _gen_kwargs: Mapping[str, Any]  # Helpers of transformers' examples set it.
    _ignore_keys_for_eval: Sequence[str] | None

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
        **generate_options: Any,
    ) -> dict[str, Any]:
        """Evaluate the model; a training that is under way is left exactly as it is.

        Args:
            eval_dataset: Instead of the trainer's own; a dict of datasets is evaluated one by one, and each metric
                carries the name of its dataset. A name is that of one of the trainer's own.
            ignore_keys: The names of the model's outputs that are not predictions. None: those that its configuration
                names.
            metric_key_prefix: The first word of each metric's name.
            generate_options: For ``args.predict_with_generate``, instead of those of ``args``: ``max_length``,
                ``num_beams`` and others of transformers' ``generate``.

        Returns:
            The metrics, ``{prefix}_loss`` among them, ``{prefix}_runtime`` in seconds with its rates, and ``epoch`` of
            a model that was trained.

        Raises:
            DataError: There is no data, or it cannot be used.
        """
        end_measuring = self._begin_measuring("eval")
        if isinstance(eval_dataset, str) and not self._overrides("get_eval_tfdataset"):
            eval_dataset = named_dataset(self.eval_dataset, eval_dataset)
        self._gen_kwargs = generate_options
        batches_by_name = self._evaluation_batches(eval_dataset)
        metrics: dict[str, Any] = {}
        with self._prepare_evaluation(next(iter(batches_by_name.values()))):
            for name, batches in batches_by_name.items():
                prefix = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
                began = time.time()
                output = self.evaluation_loop(
                    BatchLoader(eval_dataset, batches),
                    "Evaluation",
                    prediction_loss_only=True if self.compute_metrics is None else None,
                    ignore_keys=ignore_keys,
                    metric_key_prefix=prefix,
                )
                found = with_rates(output, prefix, began, batches)
                self._reporting.log_evaluation(found, seconds=time.time() - began)
                self._events.log(found)
                self._events.call("on_evaluate", metrics=found)
                metrics |= found
        return metrics | end_measuring()

    def predict(
        self,
        test_dataset: Any,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "test",
        **generate_options: Any,
    ) -> PredictionOutput:
        """Predict, and evaluate where the data has labels.

        Args:
            test_dataset: Data as for ``evaluate``.
            ignore_keys: As in ``evaluate``.
            metric_key_prefix: The first word of each metric's name.
            generate_options: As in ``evaluate``.

        Returns:
            ``predictions`` and ``label_ids`` (arrays, padded with -100 where batches differ in width; label_ids is
            None without labels), and ``metrics``.
        """
        from transformers.trainer_utils import PredictionOutput

        end_measuring = self._begin_measuring("test")
        self._gen_kwargs = generate_options
        batches = self._test_batches(test_dataset)
        self._reporting.begin_prediction()
        began = time.time()
        with self._prepare_evaluation(batches):
            loader = BatchLoader(test_dataset, batches)
            output = self.evaluation_loop(
                loader, "Prediction", ignore_keys=ignore_keys, metric_key_prefix=metric_key_prefix
            )
        metrics = with_rates(output, metric_key_prefix, began, batches)
        self._reporting.log_evaluation(metrics)
        self._events.call("on_predict", metrics=metrics)
        return PredictionOutput(output.predictions, output.label_ids, metrics | end_measuring())

    def _prepare_evaluation(self, batches: Batches) -> AbstractContextManager[None]:
        """Let the model compute as evaluations ask for; within a training it computes as the training does."""
        if self._running is not None:
            return nullcontext()
        return computing_evaluation(self._host, self.args, batches, self._evaluation)

    def _evaluation_callbacks(self, batches: Batches) -> Sequence[Any]:
        """The user's callbacks of Keras. Within a training they belong to its ``fit``, else to this evaluation."""
        self._events.eval_dataloader = batches.dataset
        if self._running is None:
            self.callbacks = check_trainer_callbacks(self.callbacks, self.args)
            prepare_callbacks(keras_callbacks(self.callbacks), self.model, batches)
        callbacks = keras_callbacks(self.callbacks)
        return [*callbacks, PredictionSteps(self._events)] if self._events.hears("on_prediction_step") else callbacks

    def _evaluate_within_fit(self) -> dict[str, Any]:
        """Evaluate, and give each number a name of its own, as callbacks of Keras monitor them.

        The metric for the best model must be there, unless a callback of the user may add it later.
        """
        keys = self._ignore_keys_for_eval
        metrics = self.evaluate() if keys is None else self.evaluate(ignore_keys=keys)
        if self._hear_evaluation is not None:
            self._hear_evaluation(self._events.state.global_step, dict(metrics))
        metrics = flat_numbers(metrics)
        metrics.pop("epoch", None)  # Callbacks would take it for one of the metrics.
        if not may_add_metrics(self.model, self.callbacks):
            check_best_metric(self.args, metrics)
        self._events.note_evaluation(metrics)
        return metrics

    # -- the pieces ---------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> BatchLoader:
        """The batches to train on as NumPy arrays, shuffled, without an end. A training does not go through them."""
        data = self._batch_factory().training(self.train_dataset, Position())
        return BatchLoader(self.train_dataset, data.batches)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> BatchLoader:
        """The batches of one dataset as NumPy arrays, for :meth:`evaluation_loop`; without labels there is no loss.

        Args:
            eval_dataset: As for ``get_eval_tfdataset``.
        """
        dataset = named_dataset(self.eval_dataset, eval_dataset)
        (batches,) = self._evaluation_batches(dataset, needs_labels=False).values()
        return BatchLoader(dataset, batches)

    def get_test_dataloader(self, test_dataset: Any) -> BatchLoader:
        """The batches of a dataset to predict as NumPy arrays, for :meth:`evaluation_loop`."""
        return BatchLoader(test_dataset, self._test_batches(test_dataset))

    def evaluation_loop(
        self,
        dataloader: BatchLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Go through the batches of a dataset once. ``evaluate`` and ``predict`` call it, and an override with them.

        Args:
            dataloader: From ``get_eval_dataloader`` or ``get_test_dataloader``.
            description: ``"Prediction"`` calls the ``on_predict_...`` hooks of callbacks, any other ``on_test_...``
                where there are labels.
            prediction_loss_only: Whether to leave out predictions; what the arguments say when None.
            ignore_keys: As in ``evaluate``.
            metric_key_prefix: The first word of each metric's name.

        Returns:
            ``predictions``, ``label_ids``, ``metrics`` and ``num_samples``, which is None where a ``tf.data.Dataset``
            does not tell.
        """
        batches = as_loader(dataloader).batches
        callbacks = self._evaluation_callbacks(batches)
        plan = self._plan_evaluation(self._gen_kwargs, ignore_keys)
        if description == "Prediction" or self._evaluation.lacks_labels(batches):
            return self._evaluation.predict(plan, batches, metric_key_prefix, callbacks)
        return self._evaluation.evaluate(
            plan, batches, metric_key_prefix, callbacks, predicts=not self._gives_loss_only(prediction_loss_only)
        )

    def prediction_loop(
        self,
        dataloader: BatchLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The former name of :meth:`evaluation_loop`."""
        return self.evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)

    def _gives_loss_only(self, wanted: bool | None) -> bool:
        return self.args.prediction_loss_only if wanted is None else wanted

    def _plan_evaluation(
        self, generate_options: Mapping[str, Any], ignore_keys: Sequence[str] | None = None
    ) -> EvaluationPlan:
        return self._evaluation.plan(
            self.args, self.compute_metrics, self.preprocess_logits_for_metrics, generate_options, ignore_keys
        )

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Write a row of metrics into the run and into the history of ``state``, at the current step.

        Args:
            logs: By their names: ``eval_...``, ``test_...``, and any other of the training. What is no number is left
                out of the run, and what JSON cannot write out of the history. The epoch is added.
            start_time: Without effect, as in transformers as long as no tokens are counted.
        """
        self._reporting.log(logs)
        self._events.log(logs)

    def _begin_measuring(self, stage: str) -> Callable[[], dict[str, int]]:
        """Measure the memory of a stage, if that is asked for; one within a training is a part of it."""
        return self._memory.begin(stage, not self.args.skip_memory_metrics and self._running is None)

    # -- batches ---------------------------------------------------------------------------------------------------

    def _evaluation_batches(self, eval_dataset: Any, *, needs_labels: bool = True) -> Mapping[str, Batches]:
        """The batches of the dataset, or of the trainer's own, which a training makes once for all evaluations.

        An ``evaluate`` of a subclass may do without labels.
        """
        needs_labels = needs_labels and not is_overridden(self, "evaluate", EvaluationPoints)
        is_hooked = self._overrides("get_eval_tfdataset")
        own = eval_dataset is None or eval_dataset is self.eval_dataset
        if own and not is_hooked and self._running is not None and self._running.evaluations:
            return self._running.evaluations
        data = self.eval_dataset if own else eval_dataset
        if is_hooked:
            datasets = {"": None} if data is None else datasets_by_name(data)
            data = {name: self._hooked("get_eval_tfdataset", one) for name, one in datasets.items()}
        if data is None:
            raise DataError("eval_dataset=None: there is nothing to evaluate on. Pass it here or to TFTrainer.")
        self._host.use_loss(self._loss_function)
        return self._batch_factory().evaluations(data, needs_labels=needs_labels)

    def _test_batches(self, test_dataset: Any) -> Batches:
        if self._overrides("get_test_tfdataset"):
            test_dataset = self._hooked("get_test_tfdataset", test_dataset)
        self._host.use_loss(self._loss_function)
        return self._batch_factory().prediction(test_dataset)
