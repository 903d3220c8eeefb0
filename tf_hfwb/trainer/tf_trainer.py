"""``TFTrainer``: transformers' ``Trainer`` for TensorFlow and Keras, on top of ``model.fit``."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tf_hfwb.callbacks.metrics_logger import WandbMetricsLogger
from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.data import Batches, evaluation_batches, training_batches
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.computed_metrics import ComputedMetrics, MetricsOfPass
from tf_hfwb.evaluation.prediction_pass import BatchRunner, Pass
from tf_hfwb.evaluation.text_generation import Generator, load_generation_config
from tf_hfwb.fit.evaluations import EvaluateDuringFit
from tf_hfwb.fit.signals import SignalWatch
from tf_hfwb.fit.step_clock import forget_steps
from tf_hfwb.fit.stop_after_steps import EpochsOfAnyLength, first_step_of
from tf_hfwb.fit.training_totals import TrainingTotals
from tf_hfwb.keras_compat import PassHooks, has_callbacks_of_others, host_of, preserve_metrics, to_float
from tf_hfwb.models.pytorch_format import save_pytorch_format
from tf_hfwb.models.save_pretrained import save_pretrained
from tf_hfwb.resume.restore import find_checkpoint, go_on, warn_of_other_data
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.resume.training_state import position_of
from tf_hfwb.trainer.optimizers import check_of_same_keras, create_optimizer, create_schedule
from tf_hfwb.trainer.overridden_methods import refuse_overridden
from tf_hfwb.trainer.trainer_callbacks import callbacks_for, checked_for_trainer, prefixed
from tf_hfwb.trainer.training_arguments import TFTrainingArguments, steps_of
from tf_hfwb.trainer.training_length import begun_data, training_length
from tf_hfwb.trainer.unused_arguments import warn_of_unused
from tf_hfwb.trainer.weight_building import build_by
from tf_hfwb.validation.argument_checks import directory

_logger = logging.getLogger("tf_hfwb")

if TYPE_CHECKING:
    from transformers.trainer_utils import PredictionOutput, TrainOutput


class TFTrainer:
    """Train, evaluate and use a model as transformers' ``Trainer`` does.

    A model of transformers brings its own loss; a plain Keras model must have been compiled with one. A loss and
    metrics that the model was compiled with stay; the optimizer is the trainer's, described by ``args`` or given by
    ``optimizers``.

    Args:
        model: A TF model of transformers, or a model of tf_keras or Keras 3.
        args: What to do; the defaults of :class:`~tf_hfwb.TFTrainingArguments` when None.
        train_dataset: A ``datasets.Dataset`` with tokenised columns, a batched ``tf.data.Dataset``, or arrays
            ``(x, y)``.
        eval_dataset: The same, or a dict of them by name.
        processing_class: The tokenizer or processor: it says how to pad, and is saved with the model.
        data_collator: Makes a batch (a dict of arrays) from a list of samples, instead of padding by
            ``processing_class``.
        compute_metrics: From an ``EvalPrediction`` (``predictions``, ``label_ids`` as arrays) to a dict of metrics.
            With ``args.batch_eval_metrics`` it is called batch by batch, with ``compute_result`` as a second argument.
        callbacks: More Keras callbacks; those of this package work for both Kerases.
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
        if args is not None and not isinstance(args, TFTrainingArguments):
            raise SettingError(
                "args",
                type(args).__name__,
                expected="TFTrainingArguments",
                advice="Their names and defaults are those of transformers' class: change its name.",
            )
        self.args = TFTrainingArguments() if args is None else args
        self.args.check()  # Values may have been set since they were made.
        self.model = model
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.processing_class = processing_class
        self.data_collator = data_collator
        self.compute_metrics = compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.callbacks = checked_for_trainer(callbacks, self.args)
        self._host = host_of(model)
        self._runner = BatchRunner(model)
        self._optimizer, self._schedule = optimizers
        self._logger: WandbMetricsLogger | None = None
        check_of_same_keras(self._host, self._optimizer, self._schedule)
        if self._optimizer is not None and self._schedule is not None:
            raise SettingError(
                "optimizers",
                optimizers,
                expected="an optimizer or a schedule: in Keras an optimizer is made with its schedule",
                advice="Pass (optimizer, None) with the schedule inside, or (None, schedule) for AdamW.",
            )
        if not (self._host.is_compiled or self._host.computes_loss):
            raise SettingError(
                "model",
                type(model).__name__,
                expected="a compiled model, as this one has no loss of its own",
                advice="Call model.compile(loss=..., metrics=[...]) first; the trainer brings the optimizer.",
            )
        if self.args.eval_strategy != "no" and eval_dataset is None:
            raise SettingError(
                "eval_dataset",
                None,
                expected=f"a dataset, because eval_strategy={self.args.eval_strategy!r}",
                advice="Pass eval_dataset, or set eval_strategy='no'.",
            )
        if not self._host.is_compiled:
            self._host.set_optimizer(self._new_optimizer(self.args.learning_rate))
        self._generators: dict[str, Generator] = {}
        self._told: set[str] = set()
        self._arguments: dict[str, Any] = {}  # And what the data is, for checkpoints.
        self._evaluated: dict[str, Batches] | None = None  # The trainer's own data in batches, during a training.
        self._is_fitting = False
        if self.args.generation_config is not None:
            model.generation_config = load_generation_config(self.args.generation_config)
        self._generator({})
        self._computed_metrics()
        self._report("no", {})

    # -- training --------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None = None) -> TrainOutput:
        """Train as ``args`` say.

        Args:
            resume_from_checkpoint: Go on from a checkpoint: its directory, the name of its artifact, or True for the
                newest good one in ``args.output_dir``, else the run's own on W&B; finding none means a fresh start.
                From one that has all steps already nothing is trained; what a training does at its end is done.
                None: train what is left in the model by whatever trained it before, and count its steps on. False: a
                fresh start, also of the count and, where the trainer has opened it, of the run.

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
            # TensorFlow, while it traces a model, may lose what a handler raises.
            signals.start(self, "exiting before the first step, as soon as the model is built")
        try:
            return self._train(resume_from_checkpoint)
        finally:
            signals.stop()

    def _train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None) -> TrainOutput:
        from transformers.trainer_utils import TrainOutput, speed_metrics

        args = self.args
        args.check()
        own_callbacks = checked_for_trainer(self.callbacks, args)
        if self.train_dataset is None:
            raise DataError("train_dataset=None: there is nothing to train on. Pass train_dataset to TFTrainer.")
        checkpoint = None
        source = resume_from_checkpoint
        if source in ("True", "true", "False", "false"):  # From a command line.
            source = source in ("True", "true")
        if source is False:
            self._start_over()
        if source:
            checkpoint = find_checkpoint(
                source,
                output_dir=args.output_dir,
                run_name=args.run_name,
                is_tracked="wandb" in (args.report_to or ()),
            )
        position = Position() if checkpoint is None else position_of(checkpoint)
        if args.full_determinism:
            self._host.make_deterministic()
        self._host.keras.utils.set_random_seed(args.seed)
        is_built = self._host.build()
        batch_size = args.per_device_train_batch_size * self._host.num_replicas
        data, start, counted, position = begun_data(self.train_dataset, position)
        batches = training_batches(
            data,
            batch_size,
            seed=args.seed if args.data_seed is None else args.data_seed,
            drop_remainder=args.dataloader_drop_last,
            start_step=start,
            **self._data_options(),
        )
        if counted is not None:
            batches = dataclasses.replace(batches, steps_per_epoch=counted)
        self._check_labels("train_dataset", batches)
        self._warn_of_unused("train_dataset", self.train_dataset, batch_size)
        evaluations = self._named_batches(self.eval_dataset) if args.eval_strategy != "no" else {}
        if self._optimizer is not None:
            self._host.set_optimizer(self._optimizer)
        length, position = training_length(args, batches, self._host.accumulation_steps, self.train_dataset, position)
        if self._optimizer is None:
            self._host.set_optimizer(self._new_optimizer(self._new_schedule(length.steps)))
        if is_built:
            self._host.optimizer_variables()  # If the first step made them, TensorFlow would trace it twice.
        log_freq: dict[str, Any] = {
            "no": "no",
            "epoch": "epoch",
            "steps": steps_of(args.logging_steps, length.steps),
        }
        facts = _facts("train_dataset", batches)
        self._arguments = {**args.to_dict(), "train_batch_size": batch_size, **facts}
        for name, evaluation in evaluations.items():
            facts |= _facts(f"eval_dataset/{name}" if name else "eval_dataset", evaluation)
        self._report(log_freq[args.logging_strategy], facts)
        if checkpoint is not None:
            build_by(self.model, batches)
            go_on(self.model, checkpoint, position)
            warn_of_other_data(checkpoint, self._arguments)
            # If so, the callbacks still do what they do at the end.
            if position.step >= first_step_of(checkpoint) + length.steps:
                _logger.warning(
                    "%s has all %d steps already: nothing is trained. To go on, raise num_train_epochs or max_steps.",
                    checkpoint.path,
                    length.steps,
                )
        totals = TrainingTotals()
        callbacks = callbacks_for(
            args,
            [*own_callbacks, totals, *([EpochsOfAnyLength()] if length.batches_per_epoch is None else [])],
            total_steps=length.steps,
            logger=self._logger,
            evaluate=lambda: self._with_the_best_metric(self.evaluate()),
            arguments=self._arguments,
            processing_class=self.processing_class,
        )
        self._evaluated, self._is_fitting = evaluations, True
        began = time.time()
        try:
            self.model.fit(
                batches.dataset,
                steps_per_epoch=length.batches_per_epoch,
                epochs=length.epochs,
                callbacks=callbacks,
                shuffle=False,  # The batches are shuffled.
                verbose=0 if args.disable_tqdm else "auto",
            )
        except BaseException as error:
            for callback in callbacks:
                if isinstance(callback, (TrainingTotals, WandbModelCheckpoint)):
                    with contextlib.suppress(Exception):  # Which would hide the error.
                        callback.on_interrupt()
            self._end_failed_run(error)
            raise
        finally:
            self._evaluated, self._is_fitting = None, False
        metrics = speed_metrics("train", began, num_samples=totals.samples, num_steps=totals.steps)
        metrics["train_loss"] = totals.loss
        if self._logger is not None:  # With what comes after the last step, which the logger has not seen.
            tracker = self._logger.tracker
            tracker.submit(tracker.summarize, metrics)
            tracker.flush_rows()
        return TrainOutput(totals.step, totals.loss, metrics)

    def _start_over(self) -> None:
        """Count steps from 0, in a run of their own; a run of the user's own goes on with what it has."""
        tracker = None if self._logger is None else self._logger.tracker
        if tracker is None or not tracker.active or tracker.owned:
            forget_steps(self._host)
            if tracker is not None:
                tracker.finish()

    def _new_schedule(self, total_steps: int) -> Any:
        if self._schedule is not None:
            return self._schedule
        args = self.args
        return create_schedule(
            self._host, args.lr_scheduler_type, args.learning_rate, args.warmup(total_steps), total_steps
        )

    def _new_optimizer(self, learning_rate: Any) -> Any:
        return create_optimizer(self._host, self.args, learning_rate)

    def _with_the_best_metric(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """What was evaluated: with the metric for the best model, unless a callback of the user's may compute that."""
        metric = self.args.metric_for_best_model
        may_be_added = has_callbacks_of_others(self.model)
        are_all = not may_be_added and not any(isinstance(own, EvaluateDuringFit) for own in self.callbacks)
        if metric is not None and are_all and prefixed(metric, "eval") not in metrics:
            raise SettingError("metric_for_best_model", metric, accepted=sorted(metrics))
        return metrics

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
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if data is None:
            raise DataError("eval_dataset=None: there is nothing to evaluate on. Pass it here or to TFTrainer.")
        named = self._evaluated if eval_dataset is None else None  # Which need not be made anew each time.
        return self._evaluate(named or self._named_batches(data), metric_key_prefix, generate_options)

    def _named_batches(self, data: Any) -> dict[str, Batches]:
        """The batches of each data set that is to be evaluated; the name is empty when there is only one."""
        named = {name: self._evaluation_batches(dataset) for name, dataset in _named(data).items()}
        for name, batches in named.items():
            self._check_labels(f"eval_dataset[{name!r}]" if name else "eval_dataset", batches)
            self._warn_of_unused("eval_dataset", _named(data)[name], self._eval_batch_size)
        return named

    def _evaluate(
        self, named: Mapping[str, Batches], metric_key_prefix: str, generate_options: Mapping[str, Any]
    ) -> dict[str, Any]:
        generator = self._generator(generate_options)
        metrics: dict[str, Any] = {}
        for name, batches in named.items():
            prefix = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
            began = time.time()
            computed = self._computed_metrics().begin(generator)
            with preserve_metrics(self.model):
                predict = self.compute_metrics is not None
                done = self._runner.evaluate(
                    batches.dataset, predict=predict, gathering=computed.gathering, hooks=self._hooks("test", batches)
                )
            found = self._metrics(done, computed, prefix, began, batches)
            if self._logger is not None:
                self._logger.log_evaluation(found, seconds=time.time() - began)
            metrics |= found
        return metrics

    def _metrics(
        self, done: Pass, computed: MetricsOfPass, prefix: str, began: float, batches: Batches
    ) -> dict[str, Any]:
        from transformers.trainer_utils import speed_metrics

        results = {**done.metrics, **computed.results(done)}
        metrics = {prefixed(name, prefix): _plain(value) for name, value in results.items()}
        return metrics | speed_metrics(prefix, began, batches.num_samples, batches.steps_per_epoch)

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

        computed = self._computed_metrics().begin(self._generator(generate_options), keeps=True)
        batches = self._evaluation_batches(test_dataset)
        if self._logger is not None:
            self._logger.on_predict_begin()
        began = time.time()
        with preserve_metrics(self.model):
            done = self._runner.predict(batches.dataset, computed.gathering, self._hooks("predict", batches))
        metrics = self._metrics(done, computed, metric_key_prefix, began, batches)
        if self._logger is not None:
            self._logger.log_evaluation(metrics)
        return PredictionOutput(done.predictions, done.labels, metrics)

    def _hooks(self, kind: str, batches: Batches) -> PassHooks:
        """Those of the user's callbacks; outside of a training these are told first what they belong to."""
        callbacks = [] if self._is_fitting else checked_for_trainer(self.callbacks, self.args)
        for callback in callbacks:
            callback.set_model(self.model)
            callback.set_params({"verbose": 0, "epochs": 1, "steps": batches.steps_per_epoch})
        return PassHooks(self.callbacks, kind)

    def _computed_metrics(self) -> ComputedMetrics:
        args = self.args
        if "loss" in args.include_for_metrics and not self._runner.has_own_loss:
            raise SettingError(
                "include_for_metrics",
                "loss",
                expected="a model of transformers with its own loss: Keras tells no losses of batches",
                advice="Compute it in compute_metrics, from predictions and labels.",
            )
        return ComputedMetrics(
            self.compute_metrics,
            preprocess=self.preprocess_logits_for_metrics,
            by_batches=args.batch_eval_metrics,
            include=args.include_for_metrics,
            told=self._told,
        )

    def _generator(self, options: Mapping[str, Any]) -> Generator | None:
        """What predicts, if that is generating; what was compiled for the same options is used again."""
        args = self.args
        if not args.predict_with_generate:
            for name, value in options.items():
                raise SettingError(name, value, expected="no option for generate, without predict_with_generate=True")
            return None
        is_bounded = options.get("max_length") is not None or options.get("max_new_tokens") is not None
        defaults = {"num_beams": args.generation_num_beams, "max_length": args.generation_max_length}
        given = {name: value for name, value in options.items() if value is not None}
        options = {**(defaults if not is_bounded else {"num_beams": args.generation_num_beams}), **given}
        key = repr(sorted(options.items()))
        if key not in self._generators:
            self._generators[key] = Generator(self.model, **options)
        return self._generators[key]

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
        arguments = self.args.to_json_string()
        target = pathlib.Path(directory("output_dir", output_dir or self.args.output_dir))
        if not self._host.build():
            data = self.eval_dataset if self.train_dataset is None else self.train_dataset
            some = None if data is None else next(iter(_named(data).values()))
            build_by(self.model, None if some is None else self._evaluation_batches(some))
        if weights_format == "pt":
            save_pytorch_format(self.model, target, processing_class=self.processing_class)
        else:
            save_pretrained(self.model, target, self.processing_class)
        (target / "training_args.json").write_text(arguments + "\n")
        return target

    # -- what the parts share --------------------------------------------------------------------------------------

    @property
    def run_directory(self) -> str | None:
        """The folder of the W&B run on disk; None without a run."""
        return None if self._logger is None else self._logger.tracker.directory

    def _data_options(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "processing_class": self.processing_class,
            "data_collator": self.data_collator,
            "label_names": self.args.label_names,
            "remove_unused_columns": self.args.remove_unused_columns,
        }

    @property
    def _eval_batch_size(self) -> int:
        return self.args.per_device_eval_batch_size * self._host.num_replicas

    def _evaluation_batches(self, data: Any) -> Batches:
        self._host.build()  # The data is compared with its weights.
        return evaluation_batches(data, self._eval_batch_size, **self._data_options())

    def _warn_of_unused(self, name: str, data: Any, batch_size: int) -> None:
        warn_of_unused(name, data, batch_size, self.args, self.data_collator, told=self._told)

    def _check_labels(self, name: str, batches: Batches) -> None:
        if self._runner.lacks_labels(batches.dataset):
            raise DataError(
                f"{name} has no labels. Expected them, because {type(self.model).__name__} computes its loss from "
                f"them. Add a column 'labels', or name the columns with label_names."
            )

    def _report(self, log_freq: Any, facts: Mapping[str, Any]) -> None:
        if "wandb" in (self.args.report_to or ()):
            self._logger = WandbMetricsLogger(
                log_freq,
                log_first_step=self.args.logging_first_step,
                run_name=self.args.run_name,
                config={**self.args.to_dict(), **facts},
            )
            self._logger.set_model(self.model)

    def _end_failed_run(self, error: BaseException) -> None:
        """A run that we opened ends as killed after an interrupt and as failed after any other exception."""
        if self._logger is not None:
            self._logger.tracker.finish(exit_code=255 if isinstance(error, KeyboardInterrupt) else 1)
            self._report("no", {})  # What is evaluated from now on is not part of that training.


def _named(data: Any) -> Mapping[str, Any]:
    """A dict of data sets, and not the columns of one, by name; a single data set has the empty name."""
    is_named = isinstance(data, Mapping) and not any(hasattr(value, "dtype") for value in data.values())
    return data if is_named else {"": data}


def _plain(value: Any) -> Any:
    """A float, or the value itself when it is no single number, as a confusion matrix."""
    plain = to_float(value)
    return value if plain is None else plain


def _facts(name: str, batches: Batches) -> dict[str, Any]:
    return {f"{name}/fingerprint": batches.fingerprint, f"{name}/num_samples": batches.num_samples}
