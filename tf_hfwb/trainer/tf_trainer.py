"""``TFTrainer``: transformers' ``Trainer`` for TensorFlow and Keras, on top of ``model.fit``."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.data import Batches
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.generation_options import load_generation_config
from tf_hfwb.fit.signals import SignalWatch
from tf_hfwb.fit.stop_after_steps import EpochsOfAnyLength
from tf_hfwb.fit.training_totals import TrainingTotals
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.constructor_checks import check_args_class, check_eval_dataset, check_loss, check_optimizers
from tf_hfwb.trainer.label_smoothing import use_label_smoothing
from tf_hfwb.trainer.model_computation import begin_training, computing_evaluation, end_training
from tf_hfwb.trainer.model_directory import write_model_directory
from tf_hfwb.trainer.optimization.learning_rate_schedules import create_schedule
from tf_hfwb.trainer.optimization.optimizer_choice import create_optimizer
from tf_hfwb.trainer.overridden_methods import refuse_overridden
from tf_hfwb.trainer.trainer_batches import BatchFactory, datasets_by_name
from tf_hfwb.trainer.trainer_callbacks import check_trainer_callbacks, create_callbacks, may_add_metrics
from tf_hfwb.trainer.trainer_evaluation import (
    EvaluationPlan,
    TrainerEvaluation,
    check_best_metric,
    prepare_callbacks,
)
from tf_hfwb.trainer.trainer_reporting import TrainerReporting
from tf_hfwb.trainer.training_backend import check_backend
from tf_hfwb.trainer.training_fit import run_fit, training_output
from tf_hfwb.trainer.training_length import remaining_data, training_length
from tf_hfwb.trainer.training_plan import TrainingPlan
from tf_hfwb.trainer.training_resume import find_training_checkpoint, parse_resume_source, restore_training
from tf_hfwb.trainer.weight_building import build_weights
from tf_hfwb.validation.argument_checks import directory

if TYPE_CHECKING:
    from transformers.trainer_utils import PredictionOutput, TrainOutput


class TFTrainer:
    """Train, evaluate and use a model as transformers' ``Trainer`` does.

    A model of transformers brings its own loss; a plain Keras model must be compiled with one. The loss and the metrics
    that a model was compiled with stay. The optimizer is the trainer's: ``args`` describe it, or ``optimizers`` gives
    it.

    Args:
        model: A TF model of transformers, or a model of tf_keras or Keras 3.
        args: What to do; the defaults of :class:`~tf_hfwb.TFTrainingArguments` when None.
        train_dataset: A ``datasets.Dataset`` with tokenised columns, a batched ``tf.data.Dataset``, or arrays
            ``(x, y)``.
        eval_dataset: The same, or a dict of them by name.
        processing_class: The tokenizer or processor. It says how to pad, and is saved with the model.
        data_collator: Makes a batch (a dict of arrays) from a list of samples, instead of padding by
            ``processing_class``.
        compute_metrics: From an ``EvalPrediction`` (``predictions``, ``label_ids`` as arrays) to a dict of metrics.
            With ``args.batch_eval_metrics`` it is called batch by batch, with ``compute_result`` as a second argument.
        callbacks: More Keras callbacks. Those of this package work for both Kerases.
        optimizers: An optimizer and a learning-rate schedule; either may be None. An optimizer has its own schedule.
        preprocess_logits_for_metrics: From the predictions and the labels of a batch (arrays, or tuples of them) to
            what is kept of the predictions, so that an evaluation needs less memory:
            ``lambda logits, labels: logits.argmax(-1)``.

    Predictions go to the main memory after every batch, as with ``eval_accumulation_steps=1`` of transformers.

    Raises:
        SettingError: A plain Keras model without a loss, arguments that contradict each other, a callback or an
            optimizer that cannot work here, or a subclass with methods of the PyTorch ``Trainer`` that nothing calls.

    Example:
        >>> import numpy as np, keras
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> y = (x[:, 0] > 0).astype("int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> args = TFTrainingArguments(num_train_epochs=2, save_strategy="no", report_to="none", disable_tqdm=True)
        >>> trainer = TFTrainer(model, args, train_dataset=(x, y), eval_dataset=(x, y))
        >>> trainer.train().global_step
        16
        >>> sorted(trainer.evaluate())[:2]
        ['eval_accuracy', 'eval_loss']

    Follows ``transformers.Trainer`` in arguments, names of metrics and return values.
    """

    def __init__(
        self,
        model: Any,
        args: TFTrainingArguments | None = None,
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        data_collator: Any = None,
        compute_metrics: Callable[..., Mapping[str, float]] | None = None,
        callbacks: Sequence[Any] = (),
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        refuse_overridden(type(self))
        check_args_class(args)
        self.args = TFTrainingArguments() if args is None else args
        self.args.check()  # Values may have been set since the arguments were made.
        self.model = model
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.processing_class = processing_class
        self.data_collator = data_collator
        self.compute_metrics = compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.callbacks = check_trainer_callbacks(callbacks, self.args)
        self._host = host_of(model)
        check_optimizers(self._host, optimizers)
        check_loss(self._host)
        check_eval_dataset(self.args, eval_dataset)
        self._optimizer, self._schedule = optimizers
        self._evaluation = TrainerEvaluation(model)
        self._running: TrainingPlan | None = None  # The training that is under way.
        self._warned: set[str] = set()  # Datasets of which the user was told that arguments have no effect.
        if not self._host.is_compiled:
            self._host.set_optimizer(self._create_optimizer(self.args.learning_rate))
        check_backend(self._host, self.args)
        use_label_smoothing(self._host, self.args, self._evaluation)
        if self.args.generation_config is not None:
            model.generation_config = load_generation_config(self.args.generation_config)
        self._plan_evaluation({})  # Raises now what would otherwise be raised at the first evaluation.
        self._reporting = TrainerReporting(model, self.args)

    # -- training --------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None = None) -> TrainOutput:
        """Train as ``args`` say.

        Args:
            resume_from_checkpoint: What to resume from: a checkpoint's directory, the name of its artifact, or True for
                the newest good one in ``args.output_dir``, else the run's own on W&B, where finding none means a fresh
                start. None: the model is trained further as it is, and its steps are counted on. False: steps are
                counted from 0, in a new run where the trainer has opened the one before.

        From a checkpoint that has all steps already nothing is trained; what a training does at its end is still done.

        Returns:
            ``global_step`` (of the last row and checkpoint), ``training_loss`` (mean over all steps) and ``metrics``
            (runtime and rates).

        Raises:
            DataError: There is no training data, or its length is unknown and ``max_steps`` is not given.
            CheckpointError: There is no checkpoint there, or it is damaged or does not fit the model.
            SettingError: The metric for the best model is not among those of the evaluation.
        """
        signals = SignalWatch()
        if self.args.save_strategy != "no":
            # TensorFlow may lose an exception that a handler raises while a model is traced.
            signals.start(self, "exiting before the first step, as soon as the model is built")
        try:
            return self._train(resume_from_checkpoint)
        finally:
            signals.stop()
            end_training(self._host, self._evaluation)

    def _train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None) -> TrainOutput:
        """Check; find the checkpoint; prepare data, model and optimizer; report; restore; fit; sum up."""
        self.args.check()
        own_callbacks = check_trainer_callbacks(self.callbacks, self.args)
        if self.train_dataset is None:
            raise DataError("train_dataset=None: there is nothing to train on. Pass train_dataset to TFTrainer.")
        checkpoint = self._find_checkpoint(resume_from_checkpoint)
        plan = self._prepare(checkpoint)
        self._reporting.start(self.args, plan.log_freq, plan.run_facts)
        if checkpoint is not None:
            restore_training(self.model, checkpoint, plan)
        totals = TrainingTotals(finite_only=self.args.logging_nan_inf_filter)
        callbacks = self._create_callbacks([*own_callbacks, totals], plan)
        began = time.time()
        self._fit(plan, callbacks)
        output = training_output(totals, began)
        self._reporting.summarize(output.metrics)
        return output

    def _find_checkpoint(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None) -> Checkpoint | None:
        source = parse_resume_source(resume_from_checkpoint)
        if source is False:
            self._reporting.forget_steps()
        return find_training_checkpoint(self.args, source) if source else None

    def _prepare(self, checkpoint: Checkpoint | None) -> TrainingPlan:
        """Seed, build the model, make the batches and give the model its optimizer."""
        args, host, batch_factory = self.args, self._host, self._batch_factory()
        if args.full_determinism:
            host.make_deterministic()
        host.keras.utils.set_random_seed(args.seed)
        is_built = host.build()
        position = Position() if checkpoint is None else TrainerState.read(checkpoint).position
        remaining = remaining_data(self.train_dataset, position)
        batches = batch_factory.training(self.train_dataset, remaining)
        begin_training(host, args, batches, self._evaluation)
        evaluations = batch_factory.evaluations(self.eval_dataset) if args.eval_strategy != "no" else {}
        if self._optimizer is not None:  # It says over how many batches gradients are accumulated.
            host.set_optimizer(self._optimizer)
        length = training_length(args, batches, host.accumulation_steps, self.train_dataset, remaining.position)
        if self._optimizer is None:
            host.set_optimizer(self._create_optimizer(self._create_schedule(length.steps)))
        if is_built:
            host.optimizer_variables()  # If the first step created them, TensorFlow would trace it twice.
        return TrainingPlan(args, batches, batch_factory.train_batch_size, evaluations, length)

    def _create_schedule(self, total_steps: int) -> Any:
        if self._schedule is not None:
            return self._schedule
        args = self.args
        warmup_steps, options = args.warmup(total_steps), args.schedule_options()
        return create_schedule(
            self._host, args.lr_scheduler_type, args.learning_rate, warmup_steps, total_steps, options
        )

    def _create_optimizer(self, learning_rate: Any) -> Any:
        return create_optimizer(self._host, self.args, learning_rate)

    def _create_callbacks(self, own: Sequence[Any], plan: TrainingPlan) -> list[Any]:
        has_known_epochs = plan.length.batches_per_epoch is not None
        return create_callbacks(
            self.args,
            own if has_known_epochs else [*own, EpochsOfAnyLength()],
            total_steps=plan.length.steps,
            logger=self._reporting.logger,
            evaluate=self._evaluate_within_fit,
            arguments=plan.checkpoint_arguments,
            processing_class=self.processing_class,
        )

    def _fit(self, plan: TrainingPlan, callbacks: Sequence[Any]) -> None:
        self._running = plan
        try:
            run_fit(self.model, plan, callbacks)
        except BaseException as error:
            self._reporting.fail(self.args, error)
            raise
        finally:
            self._running = None

    # -- evaluation and prediction ---------------------------------------------------------------------------------

    def evaluate(
        self, eval_dataset: Any = None, metric_key_prefix: str = "eval", **generate_options: Any
    ) -> dict[str, Any]:
        """Evaluate the model; a training that is under way is left exactly as it is.

        Args:
            eval_dataset: Instead of the trainer's own; a dict of datasets is evaluated one by one, and each metric
                carries the name of its dataset.
            metric_key_prefix: The first word of each metric's name.
            generate_options: For ``args.predict_with_generate``, instead of those of ``args``: ``max_length``,
                ``num_beams`` and others of transformers' ``generate``.

        Returns:
            The metrics, ``{prefix}_loss`` among them, and ``{prefix}_runtime`` in seconds with its rates.

        Raises:
            DataError: There is no data, or it cannot be used.
        """
        batches_by_name = self._evaluation_batches(eval_dataset)
        metrics: dict[str, Any] = {}
        with self._prepare_evaluation(next(iter(batches_by_name.values()))):
            plan = self._plan_evaluation(generate_options)
            for name, batches in batches_by_name.items():
                prefix = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
                began = time.time()
                found = self._evaluation.evaluate(plan, batches, prefix, self._evaluation_callbacks(batches))
                self._reporting.log_evaluation(found, seconds=time.time() - began)
                metrics |= found
        return metrics

    def predict(self, test_dataset: Any, metric_key_prefix: str = "test", **generate_options: Any) -> PredictionOutput:
        """Predict, and evaluate where the data has labels.

        Args:
            test_dataset: Data as for ``evaluate``.
            metric_key_prefix: The first word of each metric's name.
            generate_options: As in ``evaluate``.

        Returns:
            ``predictions`` and ``label_ids`` (arrays, padded with -100 where batches differ in width; label_ids is
            None without labels), and ``metrics``.
        """
        batches = self._batch_factory().prediction(test_dataset)
        with self._prepare_evaluation(batches):
            plan = self._plan_evaluation(generate_options)
            self._reporting.begin_prediction()
            output = self._evaluation.predict(plan, batches, metric_key_prefix, self._evaluation_callbacks(batches))
        self._reporting.log_evaluation(output.metrics)
        return output

    def _prepare_evaluation(self, batches: Batches) -> AbstractContextManager[None]:
        """Let the model compute as evaluations ask for; within a training it computes as the training does."""
        if self._running is not None:
            return nullcontext()
        return computing_evaluation(self._host, self.args, batches, self._evaluation)

    def _plan_evaluation(self, generate_options: Mapping[str, Any]) -> EvaluationPlan:
        return self._evaluation.plan(
            self.args, self.compute_metrics, self.preprocess_logits_for_metrics, generate_options
        )

    def _evaluation_batches(self, eval_dataset: Any) -> Mapping[str, Batches]:
        """The batches of the dataset, or of the trainer's own, which a training makes once for all evaluations."""
        if eval_dataset is None:
            if self._running is not None and self._running.evaluations:
                return self._running.evaluations
            eval_dataset = self.eval_dataset
        if eval_dataset is None:
            raise DataError("eval_dataset=None: there is nothing to evaluate on. Pass it here or to TFTrainer.")
        return self._batch_factory().evaluations(eval_dataset)

    def _evaluation_callbacks(self, batches: Batches) -> Sequence[Any]:
        """The user's callbacks. Within a training they belong to its ``fit``, else to this evaluation."""
        if self._running is None:
            prepare_callbacks(check_trainer_callbacks(self.callbacks, self.args), self.model, batches)
        return self.callbacks

    def _evaluate_within_fit(self) -> dict[str, Any]:
        """Evaluate; the metric for the best model must be there, unless a callback of the user may add it later."""
        metrics = self.evaluate()
        if not may_add_metrics(self.model, self.callbacks):
            check_best_metric(self.args, metrics)
        return metrics

    # -- saving ----------------------------------------------------------------------------------------------------

    def save_model(
        self, output_dir: str | os.PathLike[str] | None = None, *, weights_format: Literal["tf", "pt"] = "tf"
    ) -> pathlib.Path:
        """Write the model, the tokenizer and the arguments into a directory that stock tools open.

        Args:
            output_dir: Instead of ``args.output_dir``.
            weights_format: ``"pt"`` for a directory that transformers on PyTorch loads, also in version 5.

        Returns:
            The directory: for a transformers model what ``from_pretrained`` takes, else one with ``model.keras``.

        Raises:
            SettingError: ``weights_format`` is neither, PyTorch has no counterpart of the model's class, or something
                that belongs to the model cannot be written as JSON.
        """
        if weights_format not in ("tf", "pt"):
            raise SettingError("weights_format", weights_format, accepted=("tf", "pt"))
        self.args.check()
        target = pathlib.Path(directory("output_dir", output_dir or self.args.output_dir))
        if not self._host.build():
            self._build_weights()
        write_model_directory(target, self.model, self.processing_class, self.args, weights_format)
        return target

    def _build_weights(self) -> None:
        """Build the model with the trainer's data, if there is any."""
        data = self.eval_dataset if self.train_dataset is None else self.train_dataset
        batches = None
        if data is not None:
            first_dataset = next(iter(datasets_by_name(data).values()))
            batches = self._batch_factory().prediction(first_dataset)
        build_weights(self.model, batches)

    # -- what the phases share -------------------------------------------------------------------------------------

    @property
    def run_directory(self) -> str | None:
        """The folder of the W&B run on disk; None without a run."""
        return self._reporting.directory

    def _batch_factory(self) -> BatchFactory:
        """Made anew each time, since its parts may have been set since."""
        return BatchFactory(self.model, self.args, self.processing_class, self.data_collator, self._warned)
