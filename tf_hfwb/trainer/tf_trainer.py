"""``TFTrainer``: transformers' ``Trainer`` for TensorFlow and Keras, on top of ``model.fit``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.evaluation.generation_options import load_generation_config
from tf_hfwb.fit.signals import SignalWatch
from tf_hfwb.fit.stop_after_steps import EpochsOfAnyLength
from tf_hfwb.fit.training_totals import TrainingTotals
from tf_hfwb.keras_compat import host_of, pass_prepared_inputs
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.arguments.worker_members import set_log_levels
from tf_hfwb.trainer.batch_size_search import BatchSizeSearch, take_found_batch_size
from tf_hfwb.trainer.callback_methods import CallbackMethods
from tf_hfwb.trainer.computation_settings import begin_training, end_training
from tf_hfwb.trainer.constructor_checks import (
    check_accumulation,
    check_eval_dataset,
    check_given,
    check_loss,
    check_optimizers,
    check_tpu,
    check_train_dataset,
    check_workers,
    take_tokenizer,
)
from tf_hfwb.trainer.dataset_evaluation import DatasetEvaluation
from tf_hfwb.trainer.fit_callbacks import (
    check_trainer_callbacks,
    create_callbacks,
    keras_callbacks,
)
from tf_hfwb.trainer.hub_uploads import open_uploads
from tf_hfwb.trainer.label_smoothing_argument import use_label_smoothing
from tf_hfwb.trainer.memory_metrics import MemoryMetrics
from tf_hfwb.trainer.optimization.optimizer_choice import create_optimizer
from tf_hfwb.trainer.overridden_methods import refuse_overridden
from tf_hfwb.trainer.progress.closing_table import tell_end
from tf_hfwb.trainer.progress.training_progress import TrainingProgress
from tf_hfwb.trainer.search_methods import SearchMethods
from tf_hfwb.trainer.sharing_methods import SharingMethods
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents
from tf_hfwb.trainer.trainer_pickling import added_attributes, constructor_arguments, make_again
from tf_hfwb.trainer.trainer_reporting import TrainerReporting
from tf_hfwb.trainer.training_backend import check_backend
from tf_hfwb.trainer.training_fit import run_fit, training_output
from tf_hfwb.trainer.training_length import training_length
from tf_hfwb.trainer.training_plan import TrainingPlan
from tf_hfwb.trainer.training_resume import (
    find_training_checkpoint,
    parse_resume_source,
    restore_training,
    stream_start,
    training_position,
)
from tf_hfwb.trainer.weight_building import build_weights
from tf_hfwb.trainer.worker_facts import worker_facts

if TYPE_CHECKING:
    from transformers.trainer_utils import TrainOutput


class TFTrainer(SharingMethods, SearchMethods, CallbackMethods):
    """Train, evaluate and use a model as transformers' ``Trainer`` does.

    A model of transformers brings its own loss; a plain Keras model must be compiled with one. The loss and the metrics
    that a model was compiled with stay. The optimizer is the trainer's: ``args`` describe it, or ``optimizers`` gives
    it.

    Args:
        model: A TF model of transformers, or a model of tf_keras or Keras 3, such as a task of KerasHub.
        args: What to do; the defaults of :class:`~tf_hfwb.TFTrainingArguments` when None.
        data_collator: Makes a batch (a dict of arrays) from a list of samples, instead of padding by
            ``processing_class``.
        train_dataset: A ``datasets.Dataset`` with tokenised columns, a ``datasets.IterableDataset`` of such columns
            (with ``max_steps``), a batched ``tf.data.Dataset``, or arrays ``(x, y)``. Of a task of KerasHub with its
            preprocessor texts or images as they are, also as a dict of columns. For a model of Keras 3 also a loader of
            PyTorch or Grain, or a ``keras.utils.PyDataset``.
        eval_dataset: The same, or a dict of them by name.
        processing_class: The tokenizer or processor. It says how to pad, and is saved with the model.
        model_init: Makes the model instead: when the trainer is made, and anew for each training. It takes no argument,
            or the trial of a search.
        compute_loss_func: From the model's outputs, the labels and ``num_items_in_batch`` (how many labels of the
            replica's batch are not -100) to the loss, within the compiled step.
        compute_metrics: From an ``EvalPrediction`` (``predictions``, ``label_ids`` as arrays) to a dict of metrics.
            With ``args.batch_eval_metrics`` it is called batch by batch, with ``compute_result`` as a second argument.
        callbacks: Callbacks of Keras and of transformers' ``Trainer``, objects or classes. Keras's belong to the
            Keras of the model; those of this package work for both.
        optimizers: An optimizer and a learning-rate schedule; either may be None. An optimizer has its own schedule.
        preprocess_logits_for_metrics: From the predictions and the labels of a batch (arrays, or tuples of them) to
            what is kept of the predictions, so that an evaluation needs less memory:
            ``lambda logits, labels: logits.argmax(-1)``.
        optimizer_cls_and_kwargs: Refused, as is ``tb_writer`` of the former ``TFTrainer``.
        tokenizer: The former name of ``processing_class``.

    A subclass may override the methods of ``ExtensionPoints`` and ``EvaluationPoints``: batches, optimizer, loss,
    evaluation. Predictions go to the main memory after every batch.

    Raises:
        MissingPackageError: transformers is not installed; any version will do for a model of Keras 3.
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
        >>> sorted(trainer.evaluate())[:3]
        ['epoch', 'eval_accuracy', 'eval_loss']

    Follows ``transformers.Trainer`` in arguments, names of metrics and return values.
    """

    _made: set[str]  # The names of what the constructor has set.
    _batch_size_search: BatchSizeSearch  # Of the training that is under way, or of the last one.

    def __init__(
        self,
        model: Any = None,
        args: TFTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., Any] | None = None,
        compute_loss_func: Callable[..., Any] | None = None,
        compute_metrics: Callable[..., Mapping[str, float]] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: Any = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        *,
        tokenizer: Any = None,
        tb_writer: Any = None,
    ) -> None:
        refuse_overridden(type(self), TFTrainer)
        attributes_of_subclass = set(vars(self))
        check_given(model, model_init, args, data_collator, optimizer_cls_and_kwargs, tb_writer)
        self.args = TFTrainingArguments() if args is None else args
        self.args.check()  # Values may have been set since the arguments were made.
        set_log_levels(self.args)
        self.model_init, self.compute_loss_func = model_init, compute_loss_func
        self.optimizer, self.lr_scheduler = optimizers
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.processing_class = take_tokenizer(processing_class, tokenizer)
        self.data_collator = data_collator
        self.compute_metrics = compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.callbacks = check_trainer_callbacks(() if callbacks is None else callbacks, self.args)
        self._given, self._created = optimizers, (None, None)
        self._position, self._stream_start, self._default_data = Position(), None, None
        self._gen_kwargs: Mapping[str, Any] = {}
        self._ignore_keys_for_eval = None
        self._has_trained, self._warned = False, set()
        if not self._overrides("get_eval_tfdataset"):
            check_eval_dataset(self.args, eval_dataset)
        model = self._make_model() if model is None else model
        self._memory = MemoryMetrics(not self.args.skip_memory_metrics, host_of(model))
        end_measuring = self._begin_measuring("init")
        self._take_model(model)
        self._uploads = open_uploads(self.args, self._host)
        self._events = TrainerEvents(self, lambda: self._reporting.flush())
        self._events.call("on_init_end")
        end_measuring()
        self._made = set(vars(self)) - attributes_of_subclass

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process makes the trainer of: a search trains there. Its model is another one."""
        added = added_attributes(self, TFTrainer, self._made)
        return make_again, (type(self), TFTrainer, constructor_arguments(self, TFTrainer), added)

    def _take_model(self, model: Any) -> None:
        """Begin with a model: the one that was given, or a new one by ``model_init``."""
        self.model, self._host = model, host_of(model)
        pass_prepared_inputs(model)
        check_optimizers(self._host, self._given)
        check_tpu(self._host, self.args)
        check_workers(self._host)
        if self._loss_function is None:
            check_loss(self._host)
        if not self._host.is_compiled:
            self._host.set_optimizer(create_optimizer(self._host, self.args, self.args.learning_rate))
        check_backend(self._host, self.args)
        self._evaluation = DatasetEvaluation(model)
        use_label_smoothing(self._host, self.args, self._evaluation)
        if self.args.generation_config is not None:
            model.generation_config = load_generation_config(self.args.generation_config)
        self._plan_evaluation({})  # Raises now what would otherwise be raised at the first evaluation.
        self._reporting = TrainerReporting(model, self.args, self._run_of_trial)

    # -- training --------------------------------------------------------------------------------------------------

    def train(
        self,
        resume_from_checkpoint: str | os.PathLike[str] | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: Sequence[str] | None = None,
    ) -> TrainOutput:
        """Train as ``args`` say.

        Args:
            resume_from_checkpoint: What to resume from: a checkpoint's directory, the name of its artifact, or True for
                the newest good one in ``args.output_dir``, else the run's own on W&B, where finding none means a fresh
                start. None: the model is trained further as it is, and its steps are counted on. False: steps are
                counted from 0, in a new run where the trainer has opened the one before.
            trial: Hyperparameters by name, such as those that ``hyperparameter_search`` has found, or a trial of
                optuna, which has them. ``args`` get their values, and keep them; ``model_init`` gets the trial.
            ignore_keys_for_eval: ``ignore_keys`` for the evaluations within the training.

        From a checkpoint that has all steps already nothing is trained; what a training does at its end is still done.

        Returns:
            ``global_step`` (of the last row and checkpoint), ``training_loss`` (mean over all steps) and ``metrics``
            (``train_runtime`` in seconds with its rates, ``train_loss``, ``epoch``).

        Raises:
            DataError: There is no training data, or its length is unknown and ``max_steps`` is not given.
            CheckpointError: There is no checkpoint there, or it is damaged or does not fit the model.
            SettingError: The metric for the best model is not among those of the evaluation, or a hyperparameter
                cannot be used.
        """
        self._ignore_keys_for_eval = ignore_keys_for_eval
        signals = SignalWatch()
        with self._take_trial(trial):
            if self.args.save_strategy != "no":
                # TensorFlow may lose an exception that a handler raises while a model is traced.
                signals.start(self, "exiting before the first step, as soon as the model is built")
            try:
                # Each training has a model of its own where model_init makes it.
                self._batch_size_search = BatchSizeSearch(self.args, lambda: self._host, self.train_dataset)
                return self._batch_size_search.run(lambda: self._train(resume_from_checkpoint))
            finally:
                signals.stop()
                end_training(self._host, self._evaluation)

    def _train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None) -> TrainOutput:
        """Check; find the checkpoint; prepare data, model and optimizer; report; restore; fit; sum up."""
        end_measuring = self._begin_measuring("train")
        self.args.check()
        self.callbacks = check_trainer_callbacks(self.callbacks, self.args)
        if not self._overrides("get_train_tfdataset"):
            check_train_dataset(self.train_dataset)
        if self.model_init is not None:
            self._begin_anew()
        checkpoint = self._find_checkpoint(resume_from_checkpoint)
        if checkpoint is not None:
            take_found_batch_size(self.args, checkpoint)
        plan = self._prepare(checkpoint)
        self._events.begin_training(plan)
        self._reporting.start(self.args, plan.log_freq, plan.run_facts, waits_for_flow=self._events.follow_training)
        self._batch_size_search.begin(has_new_optimizer=self.optimizer is self._created[0])
        if checkpoint is not None:
            restore_training(self.model, checkpoint, plan)
        tokens = plan.count_tokens()
        totals = TrainingTotals(finite_only=self.args.logging_nan_inf_filter)
        own = [totals, *plan.follow_stream()] if tokens is None else [totals, *plan.follow_stream(), tokens]
        callbacks = self._create_callbacks([*keras_callbacks(self.callbacks), *own, *self._saving_callbacks()], plan)
        began = time.time()
        self._fit(plan, callbacks)
        output = training_output(self.args, totals, tokens, began)
        output.metrics.update(end_measuring())
        self._reporting.summarize(output.metrics)
        self._events.end_training(output.metrics, callbacks)
        self._tell_end(callbacks)
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
        args, host = self.args, self._host
        if args.full_determinism:
            host.make_deterministic()
        host.keras.utils.set_random_seed(args.seed)
        is_built = host.build()
        host.use_loss(self._loss_function)
        data = self._training_data(training_position(args, checkpoint), stream_start(checkpoint))
        batch_size = self._batch_factory().train_batch_size
        if host.is_multi_worker:
            facts = worker_facts(args, self.train_dataset, data.batches, batch_size, checkpoint)
            host.compare_workers({**host.identity(), **facts}, args.ddp_timeout)
        begin_training(host, args, data.batches, self._evaluation)
        evaluations = self._evaluation_batches(None) if args.evaluates else {}
        accumulation = self._use_given_optimizer()
        check_accumulation(host, args.gradient_accumulation_steps, accumulation)
        length = training_length(args, data.batches, accumulation, data.data, data.position)
        if self.optimizer is None:
            self._create_optimizer(length.steps)
        self._events.lr_scheduler = self.lr_scheduler
        if args.gradient_accumulation_steps > 1:
            build_weights(self.model, data.batches)  # The sums of their gradients are made before the first step.
            is_built = True
        if is_built:
            host.optimizer_variables()  # If the first step created them, TensorFlow would trace it twice.
        return TrainingPlan(
            args, data.batches, batch_size, evaluations, length, data.token_counts, data.stream_positions
        )

    def _create_callbacks(self, own: Sequence[Any], plan: TrainingPlan) -> list[Any]:
        has_known_epochs = plan.length.steps_per_epoch is not None
        evaluate: Callable[[], dict[str, Any]] = self._evaluate_within_fit
        progress = None
        if not self.args.disable_tqdm and self._host.is_chief:
            progress = TrainingProgress(plan.length.steps)
            evaluate = progress.around_evaluation(evaluate)
        return create_callbacks(
            plan,
            own if has_known_epochs else [*own, EpochsOfAnyLength()],
            events=self._events,
            logger=self._reporting.logger,
            evaluate=evaluate,
            processing_class=self.processing_class,
            progress=progress,
        )

    def _fit(self, plan: TrainingPlan, callbacks: Sequence[Any]) -> None:
        self._running, self._has_trained = plan, True
        try:
            run_fit(self.model, plan, callbacks)
        except BaseException as error:
            if not self._batch_size_search.goes_on_after(error):
                with contextlib.suppress(Exception):  # It would hide the one that has ended the training.
                    self._tell_end(callbacks, error)
                self._reporting.fail(self.args, error)
            raise
        finally:
            self._running = None

    def _tell_end(self, callbacks: Sequence[Any], error: BaseException | None = None) -> None:
        tell_end(self._host, self.args, self._events.state, callbacks, self._reporting.place, error)

    # -- what the phases share -------------------------------------------------------------------------------------

    @property
    def run_directory(self) -> str | None:
        """The folder of the W&B run on disk; None without a run."""
        return self._reporting.directory


TFSeq2SeqTrainer = TFTrainer  # It does what transformers' Seq2SeqTrainer does.
