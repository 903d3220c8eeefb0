"""``EarlyStopping``: end a training that no longer gets better, at the evaluation that shows it."""

from __future__ import annotations

import logging
import math
import pathlib
from collections.abc import Callable
from typing import Any, Literal

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CheckpointError, SettingError
from tf_hfwb.fit.evaluations import EvaluationCallback
from tf_hfwb.fit.metric_direction import is_higher_better
from tf_hfwb.fit.metric_names import is_evaluation, named, possible_rows, row_name
from tf_hfwb.keras_compat import Logs, describe_value, has_callbacks_of_others, to_float
from tf_hfwb.resume.training_state import metrics_of, weights_in
from tf_hfwb.tracking.user_runs import summarize_open_run
from tf_hfwb.validation.argument_checks import whole_number

_logger = logging.getLogger("tf_hfwb")

# What it has counted, as a fit begins; a checkpoint holds it.
_COUNTS: dict[str, float | None] = {
    "wait": 0,
    "best": None,
    "best_epoch": 0,
    "best_step": 0,
    "stopped_epoch": 0,
    "stopped_step": 0,
}
_COUNTS |= {"_best_at": 0.0, "_stopped_at": 0.0}  # The epochs with their fractions, as in the rows of a run.


class EarlyStopping(EvaluationCallback):
    """Stop when a metric has not become better for some evaluations, for tf_keras and Keras 3 models.

    Arguments, their order and their meaning are those of ``keras.callbacks.EarlyStopping``. Beyond that:

    * It counts evaluations, whoever makes them. With ``TFTrainer(eval_strategy="steps")`` that is each evaluation by
      steps, and training ends with the very step that was evaluated. At the end of epochs it counts as Keras does.
    * What it counts is part of a checkpoint: a training that goes on has the patience that was left. The best weights
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
        >>> stopping = EarlyStopping("eval_accuracy", patience=3, restore_best_weights=True)
        >>> # model.fit(dataset, validation_data=validation, callbacks=[stopping, WandbModelCheckpoint("out")])
        >>> # TFTrainer(model, args, callbacks=[stopping], ...).train()

    Follows ``keras.callbacks.EarlyStopping``; of the two Kerases' first values the more sensible ones count: NaN never
    is the best, as in tf_keras, and infinity may be, as in Keras 3.
    """

    best: float | None
    wait: int
    best_epoch: int
    best_step: int
    stopped_epoch: int
    stopped_step: int
    _best_at: float
    _stopped_at: float

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
        self.patience = whole_number("patience", patience, minimum=0)
        self.verbose = whole_number("verbose", int(verbose) if isinstance(verbose, bool) else verbose, minimum=0)
        self.mode = mode
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = whole_number("start_from_epoch", start_from_epoch, minimum=0)
        self._begin({})

    def _begin(self, counts: Any) -> None:
        for name, start in _COUNTS.items():
            setattr(self, name, counts.get(name.removeprefix("_"), start))
        self._weights: list[tuple[Any, Any]] = []  # Each with its best value.
        self._higher: bool | None = None
        self._counted: tuple[int, int] | None = None  # The epoch and the step of the last evaluation with a value.
        self._missing: tuple[int, list[str]] | None = None  # The step of one without, and what it found.
        self._has_warned = False

    @property
    def _row(self) -> str:
        """The metric's name in rows; what the train step reports is known after its first step."""
        return row_name(self.monitor, self._recorder.reported)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin anew, or go on where the checkpoint was taken."""
        super().on_train_begin(logs)
        kind = f"EarlyStopping-{row_name(self.monitor)}"
        self._name = f"{kind}-{sum(name.startswith(kind) for name in self._fit.participants)}"
        if "WandbModelCheckpoint" in self._fit.participants:
            _logger.warning(
                "EarlyStopping stands behind WandbModelCheckpoint: a checkpoint at the end of an epoch is taken before "
                "that epoch is counted, and training that goes on from it may stop later. Put it in front."
            )
        self._fit.participants[self._name] = self._state
        if self.mode != "auto":
            self._fit.directions |= dict.fromkeys(possible_rows(self.monitor), self.mode == "max")
        self._fit.restorers.append(self._end)
        self._may_be_added = has_callbacks_of_others(self.model)  # To the logs, at the end of the epoch.
        self._begin(self._resumed(self._name))
        if self._resumption is not None and self.best_step and self.restore_best_weights:
            self._find_best_weights(self._resumption.source)
        if self.stopped_step and self.stopped_step == self._clock.step and self.wait >= self.patience:
            self._recorder.stop()  # Where it was stopped then, unless there is more patience now.
        else:
            self.stopped_epoch = self.stopped_step = 0

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
        elif self._fit.evaluated is not None:  # Callbacks evaluate, and others may have something to add.
            added = {name: value for name, value in logs.items() if name not in self._fit.handed_on}
            if self._row in named(added, self._recorder.reported):
                self._count(self._clock.step, added)
            self._warn_that_it_is_missing()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the best weights, as soon as the last ones are saved."""
        super().on_train_end(logs)
        self._warn_that_it_is_missing()
        self._fit.end(logs or {})

    # -- counting --------------------------------------------------------------------------------------------------

    def _count(self, step: int, metrics: Logs) -> None:
        row, found = self._row, named(metrics, self._recorder.reported)
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
        if self._counted == (self._epoch, step):
            return
        self._counted = self._epoch, step
        if self.stopped_step or self._epoch < self.start_from_epoch:
            return
        if self._higher is None:
            self._higher = self._direction()
        is_first = self.best is None and not self.wait
        improves = self._improves(value, self.best)
        if improves or (self.restore_best_weights and not self.best_step):
            self._keep(step)
        self.wait += 1
        if improves:
            self.best = value
            if self.baseline is None or self._improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and (self._epoch > 0 or not is_first):
            self.stopped_epoch, self.stopped_step = self._epoch, step
            self._stopped_at = self._position()[1]
            self._recorder.stop()

    def _improves(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return not math.isnan(value)
        return value - self.min_delta > reference if self._higher else value + self.min_delta < reference

    def _direction(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        return is_higher_better(self._row, self._host, self._fit.directions)

    def _keep(self, step: int) -> None:
        """Remember the model as it is."""
        self.best_epoch, self.best_step, self._best_at = self._epoch, step, self._position()[1]
        if self.restore_best_weights:
            self._take_weights()

    def _take_weights(self) -> None:
        weights = self._host.weights
        self._weights = list(zip(weights, self._host.snapshot(weights), strict=True))
        self._fit.needed_steps[self._name] = self.best_step

    def _miss(self, step: int, metrics: Logs) -> None:
        """The metric is not among those of an evaluation."""
        if not self._validation.is_expected(self._epoch):
            return  # Keras validates after other epochs.
        self._missing = self._missing or (step, list(metrics))
        if self._fit.evaluated is None or not self._may_be_added:
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

    # -- going on --------------------------------------------------------------------------------------------------

    def _state(self) -> Callable[[], dict[str, Any]]:
        counts = {name.removeprefix("_"): getattr(self, name) for name in _COUNTS}
        return lambda: counts

    def _find_best_weights(self, source: pathlib.Path) -> None:
        """From the checkpoint of the best step: they were in the memory of another process."""
        if self.best_step == self._clock.step:
            self._take_weights()
            return
        try:
            checkpoint = Checkpoint.open(source.with_name(f"checkpoint-{self.best_step}"))
            checkpoint.verify()
            value = metrics_of(checkpoint).get(self._row, self.best)
            if value != self.best:
                raise CheckpointError(f"{checkpoint.path} is another training's: its {self._row} is {value}")
            self._weights = weights_in(self._host, checkpoint)
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
            self._fit.needed_steps[self._name] = self.best_step

    # -- the end ---------------------------------------------------------------------------------------------------

    def _end(self) -> dict[str, Any] | None:
        """Tell what has happened, and put the best weights back."""
        by_steps = self._fit.evaluated is not None
        if self.stopped_step:
            self._say(f"Epoch {self.stopped_epoch + 1}{f', step {self.stopped_step}' * by_steps}: early stopping")
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
        return {"global_step": self.best_step, "epoch": self._best_at, "metrics": metrics}

    def _note(self) -> None:
        facts = {"early_stopping/best": self.best, "early_stopping/best_step": self.best_step}
        if self.stopped_step:
            facts |= {
                "early_stopping/stopped_step": self.stopped_step,
                "early_stopping/stopped_epoch": self._stopped_at,
            }
        self._fit.notes.update(facts)
        summarize_open_run(facts)

    def _say(self, message: str) -> None:
        if self.verbose:
            self._host.say(message)


def _is_finite(value: Any) -> bool:
    found = to_float(value)
    return found is not None and math.isfinite(found)
