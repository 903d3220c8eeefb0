"""``TFTrainer``: transformers' ``Trainer`` for TensorFlow and Keras, on top of ``model.fit``."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
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
from tf_hfwb.trainer.batch_loader import BatchLoader
from tf_hfwb.trainer.constructor_checks import (
    check_args_class,
    check_eval_dataset,
    check_loss,
    check_model_source,
    check_optimizers,
    refuse_tb_writer,
)
from tf_hfwb.trainer.evaluation_points import EvaluationPoints
from tf_hfwb.trainer.model_directory import write_model_directory
from tf_hfwb.trainer.optimizers import create_optimizer
from tf_hfwb.trainer.overridden_methods import refuse_overridden
from tf_hfwb.trainer.trainer_batches import BatchFactory, datasets_by_name
from tf_hfwb.trainer.trainer_callbacks import check_trainer_callbacks, create_callbacks, may_add_metrics
from tf_hfwb.trainer.trainer_evaluation import TrainerEvaluation, check_best_metric, prepare_callbacks, with_rates
from tf_hfwb.trainer.trainer_reporting import TrainerReporting
from tf_hfwb.trainer.training_fit import run_fit, training_output
from tf_hfwb.trainer.training_length import training_length
from tf_hfwb.trainer.training_plan import TrainingPlan
from tf_hfwb.trainer.training_resume import find_training_checkpoint, parse_resume_source, restore_training
from tf_hfwb.trainer.weight_building import build_weights
from tf_hfwb.validation.argument_checks import directory

if TYPE_CHECKING:
    from transformers.trainer_utils import PredictionOutput, TrainOutput


class TFTrainer(EvaluationPoints):
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
        model_init: Makes the model instead: when the trainer is made, and anew for each training. It takes no argument,
            or the trial of a search.
        compute_loss_func: From the model's outputs, the labels and ``num_items_in_batch`` (how many labels of the
            replica's batch are not -100) to the loss, within the compiled step.
        tb_writer: Of the former ``TFTrainer``; refused.

    A subclass may override the methods of ``ExtensionPoints`` and ``EvaluationPoints``: batches, optimizer, loss,
    evaluation.

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
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        data_collator: Any = None,
        compute_metrics: Callable[..., Mapping[str, float]] | None = None,
        callbacks: Sequence[Any] = (),
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        model_init: Callable[..., Any] | None = None,
        compute_loss_func: Callable[..., Any] | None = None,
        tb_writer: Any = None,
    ) -> None:
        refuse_overridden(type(self), TFTrainer)
        refuse_tb_writer(tb_writer)
        check_args_class(args)
        self.args = TFTrainingArguments() if args is None else args
        self.args.check()  # Values may have been set since the arguments were made.
        check_model_source(model, model_init)
        self.model_init, self.compute_loss_func = model_init, compute_loss_func
        self.optimizer, self.lr_scheduler = optimizers
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.processing_class = processing_class
        self.data_collator = data_collator
        self.compute_metrics = compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.callbacks = check_trainer_callbacks(callbacks, self.args)
        self._given = optimizers
        self._created = None, None
        self._position, self._default_data = Position(), None
        self._gen_kwargs: Mapping[str, Any] = {}
        self._has_trained = False
        self._running: TrainingPlan | None = None  # The training that is under way.
        self._warned: set[str] = set()  # Datasets of which the user was told that arguments have no effect.
        if not self._overrides("get_eval_tfdataset"):
            check_eval_dataset(self.args, eval_dataset)
        self._take_model(self._make_model() if model is None else model)

    def _take_model(self, model: Any) -> None:
        """Begin with a model: the one that was given, or a new one by ``model_init``."""
        self.model, self._host = model, host_of(model)
        check_optimizers(self._host, self._given)
        if self._loss_function is None:
            check_loss(self._host)
        if not self._host.is_compiled:
            self._host.set_optimizer(create_optimizer(self._host, self.args, self.args.learning_rate))
        self._evaluation = TrainerEvaluation(model)
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

    def _train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None) -> TrainOutput:
        """Check; find the checkpoint; prepare data, model and optimizer; report; restore; fit; sum up."""
        self.args.check()
        own_callbacks = check_trainer_callbacks(self.callbacks, self.args)
        if self.train_dataset is None and not self._overrides("get_train_tfdataset"):
            raise DataError("train_dataset=None: there is nothing to train on. Pass train_dataset to TFTrainer.")
        if self.model_init is not None:
            self._begin_anew()
        checkpoint = self._find_checkpoint(resume_from_checkpoint)
        plan = self._prepare(checkpoint)
        self._reporting.start(self.args, plan.log_freq, plan.run_facts)
        if checkpoint is not None:
            restore_training(self.model, checkpoint, plan)
        totals = TrainingTotals()
        callbacks = self._create_callbacks([*own_callbacks, totals], plan)
        began = time.time()
        self._fit(plan, callbacks)
        output = training_output(totals, began)
        self._reporting.summarize(output.metrics)
        return output

    def _begin_anew(self) -> None:
        """Take a new model; what the one before was trained on is another training."""
        if self._has_trained:
            self._reporting.forget_steps()
        self._take_model(self._make_model())

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
        host.use_loss(self._loss_function)
        data = self._training_data(position)
        evaluations = self._evaluation_batches(None) if args.eval_strategy != "no" else {}
        accumulation = self._use_given_optimizer()
        length = training_length(args, data.batches, accumulation, data.data, data.position)
        if self.optimizer is None:
            self._create_optimizer(length.steps)
        if is_built:
            host.optimizer_variables()  # If the first step created them, TensorFlow would trace it twice.
        return TrainingPlan(args, data.batches, batch_factory.train_batch_size, evaluations, length)

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
        self._running, self._has_trained = plan, True
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
        self._gen_kwargs = generate_options
        metrics: dict[str, Any] = {}
        for name, batches in self._evaluation_batches(eval_dataset).items():
            prefix = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
            began = time.time()
            output = self.evaluation_loop(
                BatchLoader(eval_dataset, batches),
                "Evaluation",
                prediction_loss_only=True if self.compute_metrics is None else None,
                metric_key_prefix=prefix,
            )
            found = with_rates(output, prefix, began, batches)
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
        from transformers.trainer_utils import PredictionOutput

        self._gen_kwargs = generate_options
        batches = self._test_batches(test_dataset)
        self._reporting.begin_prediction()
        began = time.time()
        output = self.evaluation_loop(
            BatchLoader(test_dataset, batches), "Prediction", metric_key_prefix=metric_key_prefix
        )
        metrics = with_rates(output, metric_key_prefix, began, batches)
        self._reporting.log_evaluation(metrics)
        return PredictionOutput(output.predictions, output.label_ids, metrics)

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
