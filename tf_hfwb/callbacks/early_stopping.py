"""``EarlyStopping``: end a training that no longer gets better, at the evaluation that shows it."""

from __future__ import annotations

import logging
import math
import pathlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CheckpointError, SettingError
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.evaluation_listener import EvaluationCallback
from tf_hfwb.fit.metric_names import is_evaluation, named, row_name
from tf_hfwb.keras_compat import Logs, describe_value, has_callbacks_of_others, to_float
from tf_hfwb.resume.checkpoint_participants import EARLY_STOPPING, CaptureState
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.resume.weight_restoring import match_weights
from tf_hfwb.tracking.user_runs import summarize_open_run
from tf_hfwb.validation.argument_checks import check_whole_number

_logger = logging.getLogger("tf_hfwb")


@dataclass
class _Counts:
    """What it has counted. A checkpoint holds this.

    The public attributes of :class:`EarlyStopping` are described there; ``best_at`` and ``stopped_at`` are the epochs
    with their fractions, as in the rows of a run.
    """

    wait: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    stopped_epoch: int = 0
    stopped_step: int = 0
    best_at: float = 0.0
    stopped_at: float = 0.0


class EarlyStopping(EvaluationCallback):
    """Stop when a metric has not become better for some evaluations, for tf_keras and Keras 3 models.

    Arguments, their order and their meaning are those of ``keras.callbacks.EarlyStopping``. Beyond that:

    * It counts evaluations, whoever makes them. With ``TFTrainer(eval_strategy="steps")`` that is each evaluation by
      steps, and training ends with the very step that was evaluated. At the end of epochs it counts as Keras does.
    * What it counts is part of a checkpoint: a resumed training has the patience that was left. The best weights
      then come from the checkpoint of the best step, if it lies beside the one that was restored. In front of
      :class:`WandbModelCheckpoint` in the list, so that a checkpoint at the end of an epoch holds that epoch's count.
    * With ``restore_best_weights`` the checkpoint of the last step holds the last weights, with which training could
      go on, and the model artifact at the end holds the best ones, in whichever order the callbacks stand.
    * The best value and its step, and the epoch and step at which it stopped, go into the summary of the W&B run, if
      one is open, as ``early_stopping/best``, ``best_step``, ``stopped_epoch`` and ``stopped_step``, and into the
      metadata of the model artifact.

    In place of transformers' ``EarlyStoppingCallback(n)`` with ``metric_for_best_model="f1"`` write
    ``EarlyStopping("eval_f1", patience=n, mode="max")``, or ``mode="min"`` with ``greater_is_better=False``: it stops
    at the same evaluation. There is nothing here that is the same as its ``early_stopping_threshold``: that is compared
    with the best value of all, while with ``min_delta``, as in Keras, only a value that is better by more is the best.
    So steady small steps stop a training there and not here. And a first value that is NaN stays the best there.

    Args:
        monitor: The metric: ``val_x``, ``eval_x`` and ``eval/x`` are the same. A training metric, such as ``loss``, is
            looked at when an epoch ends.
        min_delta: Only what is better by more than this is better.
        patience: Stop after so many evaluations in a row that were not better; 0 is the same as 1.
        verbose: 1 prints when training is stopped and when weights are restored.
        mode: ``"min"``, ``"max"``, or ``"auto"``: as the compiled metric itself says, else by its name.
        baseline: A value that must be beaten too, or else evaluations count as not better.
        restore_best_weights: Give the model the weights of its best evaluation when training ends, also when nothing
            has stopped it.
        start_from_epoch: Do not look at evaluations before this epoch, counted from 0.

    Attributes:
        wait: Evaluations since the last that was better.
        best: The best value; None before there is one. NaN never is.
        best_epoch: Its epoch, from 0.
        best_step: Its global step; 0 without one.
        stopped_epoch: The epoch in which training was stopped, from 0.
        stopped_step: The global step after which it was stopped; 0 if it was not.

    Raises:
        SettingError: An argument is out of range.

    Example:
        >>> import keras, numpy as np
        >>> x, y = np.ones((16, 4), "float32"), np.zeros(16, "int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> stopping = EarlyStopping("val_accuracy", patience=1, min_delta=2.0, restore_best_weights=True)
        >>> history = model.fit(x, y, epochs=9, verbose=0, validation_data=(x, y), callbacks=[stopping])
        >>> stopping.stopped_epoch
        1

    ``TFTrainer(model, args, callbacks=[stopping], ...)`` takes it, too.

    Follows ``keras.callbacks.EarlyStopping``; of the two Kerases' first values the more sensible ones count: NaN never
    is the best, as in tf_keras, and infinity may be, as in Keras 3.
    """

    place = CallbackPlace.STOPPING

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(monitor, str) or not monitor:
            raise SettingError("monitor", monitor, expected="the name of a metric, such as 'val_loss'")
        if mode not in ("auto", "min", "max"):
            raise SettingError("mode", mode, accepted=("auto", "min", "max"))
        for name, value in (("min_delta", min_delta), ("baseline", baseline)):
            is_optional = name == "baseline" and value is None
            if not is_optional and (isinstance(value, (bool, str)) or not _is_finite(value)):
                raise SettingError(name, value, expected="a finite number")
        self.monitor = monitor
        self.min_delta = abs(float(min_delta))
        self.patience = check_whole_number("patience", patience, minimum=0)
        self.verbose = check_whole_number("verbose", int(verbose) if isinstance(verbose, bool) else verbose, minimum=0)
        self.mode = mode
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = check_whole_number("start_from_epoch", start_from_epoch, minimum=0)
        self.participant_name = EARLY_STOPPING
        self._counts = _Counts()
        self._weights: list[tuple[Any, Any]] = []  # Each variable with its best value.
        self._higher: bool | None = None
        self._counted: tuple[int, int] | None = None  # The epoch and the step of the last evaluation with a value.
        self._missing: tuple[int, list[str]] | None = None  # The step of one without, and what it found.
        self._may_be_added = False  # Whether callbacks may add the metric to the logs at the end of an epoch.
        self._has_warned = False

    @property
    def wait(self) -> int:
        """Evaluations since the last that was better."""
        return self._counts.wait

    @property
    def best(self) -> float | None:
        """The best value; None before there is one."""
        return self._counts.best

    @property
    def best_epoch(self) -> int:
        """The epoch of the best value, from 0."""
        return self._counts.best_epoch

    @property
    def best_step(self) -> int:
        """The global step of the best value; 0 without one."""
        return self._counts.best_step

    @property
    def stopped_epoch(self) -> int:
        """The epoch in which training was stopped, from 0."""
        return self._counts.stopped_epoch

    @property
    def stopped_step(self) -> int:
        """The global step after which training was stopped; 0 if it was not."""
        return self._counts.stopped_step

    @property
    def _row(self) -> str:
        """The metric's name in rows; what the train step reports is known after its first step."""
        return row_name(self.monitor, self._recorder.reported)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin anew, or continue where the checkpoint was taken."""
        super().on_train_begin(logs)
        session = self._session
        kind = f"{EARLY_STOPPING}-{row_name(self.monitor)}"
        self.participant_name = f"{kind}-{session.participants.count(kind)}"
        if session.has_saver:
            _logger.warning(
                "EarlyStopping stands behind WandbModelCheckpoint: a checkpoint at the end of an epoch is taken before "
                "that epoch is counted, and training that goes on from it may stop later. Put it in front."
            )
        session.directions.state(self.monitor, self.mode)
        session.end.restore_by(self._restore_best)
        self._may_be_added = has_callbacks_of_others(self.model)
        session.participants.add(self)
        counts = self._counts
        if counts.stopped_step and counts.stopped_step == self._clock.step and counts.wait >= self.patience:
            self._recorder.stop()  # Where it was stopped then, unless there is more patience now.
        else:
            counts.stopped_epoch = counts.stopped_step = 0

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Count on from the resumed training, and find its best weights."""
        self._counts = _Counts(**{name: state[name] for name in asdict(_Counts()) if name in state})
        self._weights, self._higher = [], None
        self._counted = self._missing = None
        self._has_warned = False
        resumption = self._session.resumption
        if resumption is not None and self.best_step and self.restore_best_weights:
            self._find_best_weights(resumption.source)

    def capture_state(self) -> CaptureState:
        """What was counted so far."""
        counts = asdict(self._counts)
        return lambda: counts

    def on_evaluated(self, step: int, metrics: Logs) -> None:
        """Count the evaluation, if it is one of the metric."""
        if is_evaluation(self._row):
            self._count(step, metrics)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Count the epoch, if the metric is one of the training, or one that a callback has added to the logs."""
        super().on_epoch_end(epoch, logs)
        logs = logs or {}
        if not is_evaluation(self._row):
            self._count(self._clock.step, logs)
        elif self._session.evaluations.are_by_callbacks:  # Others may have something to add.
            added = self._session.evaluations.own_logs(logs)
            if self._row in named(added, self._recorder.reported):
                self._count(self._clock.step, added)
            self._warn_that_it_is_missing()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the best weights, as soon as the last ones are saved."""
        super().on_train_end(logs)
        self._warn_that_it_is_missing()
        self._session.end.reach()

    # -- counting --------------------------------------------------------------------------------------------------

    def _count(self, step: int, metrics: Logs) -> None:
        """Count an evaluation: find its value, and say what is wrong where there is none."""
        row, found, epoch = self._row, named(metrics, self._recorder.reported), self._schedule.epoch
        if row not in found:
            self._miss(step, metrics)
            return
        value, self._missing = to_float(found[row]), None
        if value is None:
            self._warn(
                "EarlyStopping monitors %r, which is %s. Expected one number, or an array of one element. Monitor "
                "another metric, or reduce this one, as by its mean. Training goes on; this is said once.",
                self.monitor,
                describe_value(found[row]),
            )
            return
        if self._counted == (epoch, step):
            return
        self._counted = epoch, step
        if not self.stopped_step and epoch >= self.start_from_epoch:
            self._judge(value, epoch, step)

    def _judge(self, value: float, epoch: int, step: int) -> None:
        """Stop, or wait, or find that the value is the best."""
        counts = self._counts
        if self._higher is None:
            self._higher = self._direction()
        is_first = counts.best is None and not counts.wait
        improves = self._improves(value, counts.best)
        if improves or (self.restore_best_weights and not counts.best_step):
            self._keep(epoch, step)
        counts.wait += 1
        if improves:
            counts.best = value
            if self.baseline is None or self._improves(value, self.baseline):
                counts.wait = 0
        elif counts.wait >= self.patience and (epoch > 0 or not is_first):
            counts.stopped_epoch, counts.stopped_step = epoch, step
            counts.stopped_at = self._schedule.position()[1]
            self._recorder.stop()

    def _improves(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return not math.isnan(value)
        return value - self.min_delta > reference if self._higher else value + self.min_delta < reference

    def _direction(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        return self._session.directions.is_higher_better(self._row, self._host)

    def _keep(self, epoch: int, step: int) -> None:
        """Remember the model as it is."""
        counts = self._counts
        counts.best_epoch, counts.best_step, counts.best_at = epoch, step, self._schedule.position()[1]
        if self.restore_best_weights:
            self._take_weights()

    def _take_weights(self) -> None:
        weights = self._host.weights
        self._weights = list(zip(weights, self._host.snapshot(weights), strict=True))
        self._session.needed_steps[self.participant_name] = self.best_step

    def _miss(self, step: int, metrics: Logs) -> None:
        """The metric is not among those of an evaluation."""
        if not self._validation.is_expected(self._schedule.epoch):
            return  # Keras validates after other epochs.
        self._missing = self._missing or (step, list(metrics))
        if not (self._session.evaluations.are_by_callbacks and self._may_be_added):
            self._warn_that_it_is_missing()

    def _warn_that_it_is_missing(self) -> None:
        if self._missing is None:
            return
        (step, names), self._missing = self._missing, None
        self._warn(
            "EarlyStopping monitors %r, which is not known at step %d. Metrics there: %s. Expected one of them, or an "
            "evaluation (validation_data in fit, eval_strategy in TFTrainingArguments), or a callback in front that "
            "adds it to the logs of the epoch. Training goes on, and it looks again after the next evaluation; this is "
            "said once.",
            self.monitor,
            step,
            ", ".join(names) or "none",
        )

    def _warn(self, message: str, *values: Any) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning(message, *values)

    # -- resuming --------------------------------------------------------------------------------------------------

    def _find_best_weights(self, source: pathlib.Path) -> None:
        """From the checkpoint of the best step: they were in the memory of another process."""
        if self.best_step == self._clock.step:
            self._take_weights()
            return
        try:
            checkpoint = Checkpoint.open(source.with_name(checkpoint_name(self.best_step)))
            checkpoint.verify()
            value = TrainerState.read(checkpoint).metrics.get(self._row, self.best)
            if value != self.best:
                raise CheckpointError(f"{checkpoint.path} is another training's: its {self._row} is {value}")
            self._weights = match_weights(self._host, checkpoint)
        except CheckpointError as error:
            _logger.warning(
                "EarlyStopping goes on from %s, without the weights of the best step %d (%s=%s): %s. Expected its "
                "checkpoint beside it. Until there is a better value, the model will end with its last weights. Save a "
                "checkpoint at each evaluation, or put the missing one there and begin again.",
                source,
                self.best_step,
                self._row,
                self.best,
                str(error).rstrip("."),
            )
        else:
            self._session.needed_steps[self.participant_name] = self.best_step

    # -- the end ---------------------------------------------------------------------------------------------------

    def _restore_best(self) -> dict[str, Any] | None:
        """Tell what has happened, and put the best weights back."""
        by_steps = self._session.evaluations.are_by_callbacks
        if self.stopped_step:
            step = f", step {self.stopped_step}" if by_steps else ""
            self._say(f"Epoch {self.stopped_epoch + 1}{step}: early stopping")
        if self.best is not None:
            self._note()
        if not self._weights:
            return None
        best = f"best step: {self.best_step}" if by_steps else f"best epoch: {self.best_epoch + 1}"
        self._say(f"Restoring model weights from the end of the {best}.")
        for variable, value in self._weights:
            variable.assign(value)
        self._weights = []
        metrics = {} if self.best is None else {self._row: self.best}
        return {"global_step": self.best_step, "epoch": self._counts.best_at, "metrics": metrics}

    def _note(self) -> None:
        facts = {"early_stopping/best": self.best, "early_stopping/best_step": self.best_step}
        if self.stopped_step:
            facts |= {
                "early_stopping/stopped_step": self.stopped_step,
                "early_stopping/stopped_epoch": self._counts.stopped_at,
            }
        self._session.end.notes.update(facts)
        summarize_open_run(facts)

    def _say(self, message: str) -> None:
        if self.verbose:
            self._host.say(message)


def _is_finite(value: Any) -> bool:
    found = to_float(value)
    return found is not None and math.isfinite(found)
