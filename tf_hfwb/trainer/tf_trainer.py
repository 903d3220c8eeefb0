"""``TFTrainer``: transformers' ``Trainer`` for TensorFlow and Keras, on top of ``model.fit``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.data import Batches
from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.generation_options import load_generation_config
from tf_hfwb.fit.signals import SignalWatch
from tf_hfwb.fit.stop_after_steps import EpochsOfAnyLength
from tf_hfwb.fit.training_totals import TrainingTotals
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.callback_methods import CallbackMethods
from tf_hfwb.trainer.constructor_checks import check_accumulation, check_given, check_training, take_tokenizer
from tf_hfwb.trainer.hub_uploads import open_uploads
from tf_hfwb.trainer.optimization.learning_rate_schedules import create_schedule
from tf_hfwb.trainer.optimization.optimizer_choice import create_optimizer
from tf_hfwb.trainer.overridden_methods import refuse_overridden
from tf_hfwb.trainer.sharing_methods import SharingMethods
from tf_hfwb.trainer.trainer_batches import BatchFactory
from tf_hfwb.trainer.trainer_callbacks import (
    check_trainer_callbacks,
    create_callbacks,
    keras_callbacks,
    may_add_metrics,
)
from tf_hfwb.trainer.trainer_evaluation import (
    EvaluationPlan,
    TrainerEvaluation,
    check_best_metric,
    prepare_callbacks,
)
from tf_hfwb.trainer.trainer_events.event_calls import TrainerEvents
from tf_hfwb.trainer.trainer_events.prediction_steps import PredictionSteps
from tf_hfwb.trainer.trainer_reporting import TrainerReporting
from tf_hfwb.trainer.training_fit import run_fit, training_output
from tf_hfwb.trainer.training_length import remaining_data, training_length
from tf_hfwb.trainer.training_plan import TrainingPlan
from tf_hfwb.trainer.training_resume import find_training_checkpoint, parse_resume_source, restore_training
from tf_hfwb.trainer.weight_building import build_weights

if TYPE_CHECKING:
    from transformers.trainer_utils import PredictionOutput, TrainOutput


class TFTrainer(SharingMethods, CallbackMethods):
    """Train, evaluate and use a model as transformers' ``Trainer`` does.

    A model of transformers brings its own loss; a plain Keras model must be compiled with one. The loss and the metrics
    that a model was compiled with stay. The optimizer is the trainer's: ``args`` describe it, or ``optimizers`` gives
    it.

    Args:
        model: A TF model of transformers, or a model of tf_keras or Keras 3.
        args: What to do; the defaults of :class:`~tf_hfwb.TFTrainingArguments` when None.
        data_collator: Makes a batch (a dict of arrays) from a list of samples, instead of padding by
            ``processing_class``.
        train_dataset: A ``datasets.Dataset`` with tokenised columns, a batched ``tf.data.Dataset``, or arrays
            ``(x, y)``.
        eval_dataset: The same, or a dict of them by name.
        processing_class: The tokenizer or processor. It says how to pad, and is saved with the model.
        model_init: Not supported yet, nor are ``compute_loss_func`` and ``optimizer_cls_and_kwargs``.
        compute_metrics: From an ``EvalPrediction`` (``predictions``, ``label_ids`` as arrays) to a dict of metrics.
            With ``args.batch_eval_metrics`` it is called batch by batch, with ``compute_result`` as a second argument.
        callbacks: Callbacks of Keras and of transformers' ``Trainer``, objects or classes. Keras's belong to the
            Keras of the model; those of this package work for both.
        optimizers: An optimizer and a learning-rate schedule; either may be None. An optimizer has its own schedule.
        preprocess_logits_for_metrics: From the predictions and the labels of a batch (arrays, or tuples of them) to
            what is kept of the predictions, so that an evaluation needs less memory:
            ``lambda logits, labels: logits.argmax(-1)``.
        tokenizer: The former spelling of ``processing_class``.

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
        model: Any = None,
        args: TFTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Any = None,
        compute_loss_func: Any = None,
        compute_metrics: Callable[..., Mapping[str, float]] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: Any = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        *,
        tokenizer: Any = None,
    ) -> None:
        refuse_overridden(type(self))
        given = {"compute_loss_func": compute_loss_func, "optimizer_cls_and_kwargs": optimizer_cls_and_kwargs}
        check_given(model, args, model_init=model_init, **given)
        self.args = TFTrainingArguments() if args is None else args
        self.args.check()  # Values may have been set since the arguments were made.
        self.model = model
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.processing_class = take_tokenizer(processing_class, tokenizer)
        self.data_collator = data_collator
        self.compute_metrics = compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.callbacks = check_trainer_callbacks(() if callbacks is None else callbacks, self.args)
        self._host = host_of(model)
        check_training(self._host, self.args, optimizers, eval_dataset)
        self._optimizer, self._schedule = optimizers
        self._evaluation = TrainerEvaluation(model)
        self._running: TrainingPlan | None = None  # The training that is under way.
        self._warned: set[str] = set()  # Datasets of which the user was told that arguments have no effect.
        if not self._host.is_compiled:
            self._host.set_optimizer(self._create_optimizer(self.args.learning_rate))
        if self.args.generation_config is not None:
            model.generation_config = load_generation_config(self.args.generation_config)
        self._plan_evaluation({})  # Raises now what would otherwise be raised at the first evaluation.
        self._reporting = TrainerReporting(model, self.args)
        self._uploads = open_uploads(self.args, self._host)
        self._events = TrainerEvents(self, self._reporting.flush)
        self._events.call("on_init_end")

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
            (``train_runtime`` in seconds with its rates, ``train_loss``, ``epoch``).

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

    def _train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None) -> TrainOutput:
        """Check; find the checkpoint; prepare data, model and optimizer; report; restore; fit; sum up."""
        self.args.check()
        self.callbacks = check_trainer_callbacks(self.callbacks, self.args)
        if self.train_dataset is None:
            raise DataError("train_dataset=None: there is nothing to train on. Pass train_dataset to TFTrainer.")
        checkpoint = self._find_checkpoint(resume_from_checkpoint)
        plan = self._prepare(checkpoint)
        self._events.begin_training(plan)
        self._reporting.start(self.args, plan.log_freq, plan.run_facts, waits_for_flow=self._events.follow_training)
        if checkpoint is not None:
            restore_training(self.model, checkpoint, plan)
        totals = TrainingTotals()
        callbacks = self._create_callbacks([*keras_callbacks(self.callbacks), totals, *self._hub_callbacks()], plan)
        began = time.time()
        self._fit(plan, callbacks)
        output = training_output(totals, began)
        self._reporting.summarize(output.metrics)
        self._events.end_training(output.metrics, callbacks)
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
        evaluations = batch_factory.evaluations(self.eval_dataset) if args.eval_strategy != "no" else {}
        accumulation = 1
        if self._optimizer is not None:  # It may accumulate gradients itself.
            host.set_optimizer(self._optimizer)
            accumulation = host.accumulation_steps
        check_accumulation(host, args.gradient_accumulation_steps, accumulation)
        length = training_length(args, batches, accumulation, self.train_dataset, remaining.position)
        if self._optimizer is None:
            schedule = self._events.lr_scheduler = self._create_schedule(length.steps)
            host.set_optimizer(self._create_optimizer(schedule))
        if args.gradient_accumulation_steps > 1:
            build_weights(self.model, batches)  # The sums of their gradients are made before the first step.
            is_built = True
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
        has_known_epochs = plan.length.steps_per_epoch is not None
        return create_callbacks(
            plan,
            own if has_known_epochs else [*own, EpochsOfAnyLength()],
            events=self._events,
            logger=self._reporting.logger,
            evaluate=self._evaluate_within_fit,
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
            The metrics, ``{prefix}_loss`` among them, ``{prefix}_runtime`` in seconds with its rates, and ``epoch`` of
            a model that was trained.

        Raises:
            DataError: There is no data, or it cannot be used.
        """
        batches_by_name = self._evaluation_batches(eval_dataset)
        plan = self._plan_evaluation(generate_options)
        metrics: dict[str, Any] = {}
        for name, batches in batches_by_name.items():
            prefix = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
            began = time.time()
            found = self._evaluation.evaluate(plan, batches, prefix, self._evaluation_callbacks(batches))
            self._reporting.log_evaluation(found, seconds=time.time() - began)
            self._events.log(found)
            self._events.call("on_evaluate", metrics=found)
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
        plan = self._plan_evaluation(generate_options)
        batches = self._batch_factory().prediction(test_dataset)
        self._reporting.begin_prediction()
        output = self._evaluation.predict(plan, batches, metric_key_prefix, self._evaluation_callbacks(batches))
        self._reporting.log_evaluation(output.metrics)
        self._events.call("on_predict", metrics=output.metrics)
        return output

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
        """The user's callbacks of Keras. Within a training they belong to its ``fit``, else to this evaluation."""
        self._events.eval_dataloader = batches.dataset
        if self._running is None:
            self.callbacks = check_trainer_callbacks(self.callbacks, self.args)
        callbacks = keras_callbacks(self.callbacks)
        if self._running is None:
            prepare_callbacks(callbacks, self.model, batches)
        return [*callbacks, PredictionSteps(self._events)] if self._events.hears("on_prediction_step") else callbacks

    def _evaluate_within_fit(self) -> dict[str, Any]:
        """Evaluate; the metric for the best model must be there, unless a callback of the user may add it later."""
        metrics = self.evaluate()
        metrics.pop("epoch", None)  # Callbacks would take it for one of the metrics.
        if not may_add_metrics(self.model, self.callbacks):
            check_best_metric(self.args, metrics)
        self._events.note_evaluation(metrics)
        return metrics

    # -- what the phases share -------------------------------------------------------------------------------------

    @property
    def run_directory(self) -> str | None:
        """The folder of the W&B run on disk; None without a run."""
        return self._reporting.directory

    def _batch_factory(self) -> BatchFactory:
        """Made anew each time, since its parts may have been set since."""
        return BatchFactory(self.model, self.args, self.processing_class, self.data_collator, self._warned)


TFSeq2SeqTrainer = TFTrainer  # It does what transformers' Seq2SeqTrainer does.
