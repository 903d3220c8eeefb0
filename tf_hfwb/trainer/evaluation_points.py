"""The methods of a trainer that evaluate, in the pieces that helpers of transformers' examples call and override."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.data import Batches
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.batch_loader import BatchLoader, as_loader
from tf_hfwb.trainer.extension_points import ExtensionPoints
from tf_hfwb.trainer.trainer_batches import datasets_by_name, named_dataset
from tf_hfwb.trainer.trainer_evaluation import EvaluationPlan, TrainerEvaluation
from tf_hfwb.trainer.trainer_reporting import TrainerReporting
from tf_hfwb.trainer.training_plan import TrainingPlan

if TYPE_CHECKING:
    from transformers.trainer_utils import EvalLoopOutput


class EvaluationPoints(ExtensionPoints):
    """How a trainer evaluates and predicts.

    Attributes:
        compute_metrics: The user's metrics; None for those of the model alone.
        preprocess_logits_for_metrics: What is kept of predictions.

    Names, arguments and return values follow ``transformers.Trainer``.
    """

    compute_metrics: Callable[..., Mapping[str, float]] | None
    preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None
    _evaluation: TrainerEvaluation
    _reporting: TrainerReporting
    _running: TrainingPlan | None
    _gen_kwargs: Mapping[str, Any]  # Helpers of transformers' examples set it.

    def _evaluation_callbacks(self, batches: Batches) -> Sequence[Any]:
        raise NotImplementedError

    def get_train_dataloader(self) -> BatchLoader:
        """The batches to train on as NumPy arrays, shuffled, without an end. A training does not go through them."""
        data = self._batch_factory().training(self.train_dataset, Position())
        return BatchLoader(self.train_dataset, data.batches)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> BatchLoader:
        """The batches of one dataset as NumPy arrays, for :meth:`evaluation_loop`.

        Args:
            eval_dataset: As for ``get_eval_tfdataset``.
        """
        dataset = named_dataset(self.eval_dataset, eval_dataset)
        (batches,) = self._evaluation_batches(dataset).values()
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
            description: ``"Prediction"`` calls the ``on_predict_...`` hooks of callbacks, any other ``on_test_...``.
            prediction_loss_only: Whether to leave out predictions; what the arguments say when None.
            ignore_keys: Not supported: None.
            metric_key_prefix: The first word of each metric's name.

        Returns:
            ``predictions``, ``label_ids``, ``metrics`` and ``num_samples``, which is None where a ``tf.data.Dataset``
            does not tell.

        Raises:
            SettingError: ``ignore_keys`` are given.
        """
        if ignore_keys:
            raise SettingError(
                "ignore_keys",
                ignore_keys,
                expected="None",
                advice="Take outputs out of the predictions with preprocess_logits_for_metrics.",
            )
        batches = as_loader(dataloader).batches
        callbacks = self._evaluation_callbacks(batches)
        plan = self._plan_evaluation(self._gen_kwargs)
        if description == "Prediction":
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

    def _plan_evaluation(self, generate_options: Mapping[str, Any]) -> EvaluationPlan:
        return self._evaluation.plan(
            self.args, self.compute_metrics, self.preprocess_logits_for_metrics, generate_options
        )

    def log(self, logs: Mapping[str, Any], start_time: float | None = None) -> None:
        """Write a row of metrics into the run, at the current step.

        Args:
            logs: By their names: ``eval_...``, ``test_...``, and any other of the training. What is no number is left
                out.
            start_time: Without effect, as in transformers as long as no tokens are counted.
        """
        self._reporting.log(logs)

    # -- batches ---------------------------------------------------------------------------------------------------

    def _evaluation_batches(self, eval_dataset: Any) -> Mapping[str, Batches]:
        """The batches of the dataset, or of the trainer's own, which a training makes once for all evaluations."""
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
        return self._batch_factory().evaluations(data)

    def _test_batches(self, test_dataset: Any) -> Batches:
        if self._overrides("get_test_tfdataset"):
            test_dataset = self._hooked("get_test_tfdataset", test_dataset)
        self._host.use_loss(self._loss_function)
        return self._batch_factory().prediction(test_dataset)
