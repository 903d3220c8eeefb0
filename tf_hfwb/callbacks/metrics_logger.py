"""``WandbMetricsLogger``: the metrics of a fit or an evaluation in a W&B run, on one clock."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple

from tf_hfwb.fit.fit_run import announce, begin_training, claim_directory, end_training, open_run
from tf_hfwb.fit.metric_direction import is_higher_better
from tf_hfwb.fit.metric_names import added_metrics, evaluation_name
from tf_hfwb.fit.metric_rows import Evaluation, EvaluationRows, Moment, Streak, TrainRows
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.fit.step_clock import StepClock
from tf_hfwb.keras_compat import Logs, host_of, to_float
from tf_hfwb.settings import Settings
from tf_hfwb.step_policies import EverySteps, Never, Once, Policy
from tf_hfwb.tracking import Tracker
from tf_hfwb.validation.argument_checks import whole_number

# The epoch that each model has reached in a fit with a logger; another logger may evaluate it.
_epochs_reached: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


class _SharedLogs(NamedTuple):
    """The logs of an epoch that has ended, into which callbacks behind the logger may still put metrics.

    Attributes:
        logs: The one dict that both Kerases hand through all callbacks.
        seen: The names that have been written, or had no need to.
        step: The global step.
        epoch: The epoch, with its fraction.
    """

    logs: Logs
    seen: set[str]
    step: int
    epoch: float


class WandbMetricsLogger(StepCallback):
    """Log the metrics of ``fit`` and ``evaluate`` to Weights & Biases, for tf_keras and Keras 3 models.

    The run is opened at the first event, not here; a run that you opened with ``wandb.init`` is used. Every row carries
    ``train/global_step``, the number of optimizer updates since the very first start, which is the x-axis of every
    metric. ``train/loss`` is the mean over the steps since the row before, as the PyTorch ``Trainer`` logs it, not
    Keras's running mean of the epoch; other training metrics are Keras's own. What callbacks add to the logs of an
    epoch, as Keras's and transformers' ``KerasMetricCallback`` do, is an evaluation metric, wherever they stand in the
    list: ``logs["val_f1"]`` and ``logs["f1"]`` are ``eval/f1``.

    Steps that log nothing are not synchronised, and a row costs the training thread a few microseconds: a worker
    thread reads the numbers and sends them. Beside this logger do not pass ``step=`` to a ``wandb.log`` of your own:
    W&B drops what lies behind its own counter. Log ``{"train/global_step": n, ...}``, or no step at all.

    Args:
        log_freq: ``"epoch"`` for a row at each epoch's end; ``"batch"`` for a row at every step; a number n for a row
            at every multiple of n steps, and one at the last step; ``"no"`` for evaluations and the summary only.
            Under ``steps_per_execution=k`` a row falls on the first boundary at or after the multiple and carries the
            true step.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.
        log_first_step: Also a row at the very first step.
        project: The run's project; else ``WANDB_PROJECT``, else ``huggingface``.
        run_name: The run's name; else ``WANDB_NAME``, else W&B finds one.
        config: Merged into the run's config, on top of the model's own.

    Raises:
        SettingError: ``log_freq`` is neither of the words nor a positive number, or the environment does not parse.

    Example:
        >>> logger = WandbMetricsLogger(log_freq=100)
        >>> # model.fit(dataset, callbacks=[logger])

    Arguments follow ``wandb.integration.keras.WandbMetricsLogger``; names and meaning of the metrics follow the
    ``Trainer`` of transformers.
    """

    _precedes_saving = True

    def __init__(
        self,
        log_freq: Literal["epoch", "batch", "no"] | int = "epoch",
        initial_global_step: int = 0,
        *,
        log_first_step: bool = False,
        project: str | None = None,
        run_name: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        first = whole_number(
            "initial_global_step", initial_global_step, minimum=0, expected="a number of steps, 0 or more"
        )
        super().__init__(_policy(log_freq, log_first_step), first)
        self._by_epochs = log_freq == "epoch"
        self._by_steps = not isinstance(log_freq, str) or log_freq == "batch"
        self._settings = Settings.resolve(project=project)
        self._run_name = run_name
        self._config = dict(config or {})
        self._tracker = Tracker()
        self._told: set[str] = set()
        self._evaluations = EvaluationRows(self._tracker, told=self._told)
        self._directions: dict[str, bool] = {}
        self._pending_evaluation: Evaluation | None = None
        self._shared: _SharedLogs | None = None
        self._streak: Streak | None = None
        self._training = False

    @property
    def tracker(self) -> Tracker:
        """The run that this logger writes to; one without a run before the first event."""
        return self._tracker

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell the callbacks in front, which may need the run first, what it is to be."""
        super().set_params(params)
        announce(self, self._open_for_fit)

    # -- training --------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the run and let the model record its steps."""
        claim_directory(self)
        self._open_for_fit()
        # All workers read the recorder, in step: reading it sums over them.
        self._training = self._tracker.active or self._host.is_multi_worker
        if not self._training:
            return
        super().on_train_begin(logs)
        begin_training(self, self._tracker)
        # The recorder forgets what is older than its size; a look may come late by as much again.
        self._longest_quiet = self._recorder.size // 2
        self._unread = 0
        self._evaluating = 0.0
        self._epoch_logs: Logs = {}
        recorder = self._recorder
        self._tracker.prefer(lambda: recorder.is_executing)
        start = self._moment({})
        self._row_step = start.step
        self._rows = TrainRows(self._tracker, start, self._host.num_replicas, self._told)
        self._shared = None
        self._directions = self._fit.directions
        self._fit.participants["WandbMetricsLogger"] = self._state
        self._fit.evaluation_loggers.append(self.log_evaluation)
        self._logged: set[str] = set()
        resumed = self._resumed("WandbMetricsLogger")
        if resumed:
            self._rows.resume(resumed["rows"])
            self._row_step = resumed["rows"]["row"]["step"]
            self._tracker.best.update(resumed["best"])
            self._tracker.history[:] = map(json.dumps, resumed["log_history"])
            self._tracker.fill_gaps()

    def _state(self) -> Callable[[], dict[str, Any]]:
        """What a checkpoint needs, as of now; to be called for the values on another thread."""
        if not self._tracker.active:
            return dict
        self._write_added()
        answer: Future[dict[str, Any]] = Future()
        self._tracker.submit(self._answer, answer, self._rows, self._moment({}))

        def answered() -> dict[str, Any]:
            self._tracker.flush_rows()
            return answer.result(timeout=600.0)

        return answered

    def _answer(self, answer: Future[dict[str, Any]], rows: TrainRows, moment: Moment) -> None:
        try:
            tracker = self._tracker
            answer.set_result(
                {"rows": rows.state(moment), "best": dict(tracker.best), "log_history": list(tracker.history)}
            )
        except Exception as error:
            answer.set_exception(error)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start counting the epoch's batches."""
        if self._training:
            self._write_added()
            self._shared = None
            super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write what is due of the epoch's last step, the epoch's row, and the row of its validation."""
        if not self._training:
            return
        logs = {} if logs is None else logs
        reported = self._recorder.reported
        self._epoch_logs = {name: value for name, value in logs.items() if name in reported}
        self._end_streak()
        super().on_epoch_end(epoch, self._epoch_logs)
        if self._by_epochs:
            self._write(self._epoch_logs)
        if self._pending_evaluation is not None and self._pending_evaluation.step < self._clock.step:
            self._write_evaluation({})
        self._write_evaluation(self._not_logged(logs))
        self._shared = _SharedLogs(logs, set(logs), *self._position())

    def _not_logged(self, logs: Logs) -> dict[str, Any]:
        """What callbacks have added, except what was logged when it was computed: it need not be new any more.

        It may have been logged by the process with which a restored training continues.
        """
        own = {name: value for name, value in logs.items() if name not in self._fit.handed_on}
        added = added_metrics(own, self._recorder.reported)
        return {name: value for name, value in added.items() if name not in self._logged}

    def _write_added(self) -> None:
        """Write what callbacks behind this one have added to the logs of the epoch that has ended."""
        if self._shared is None:
            return
        logs, seen, step, epoch = self._shared
        more = self._not_logged({name: value for name, value in logs.items() if name not in seen})
        seen.update(logs)
        if more:
            self._tracker.submit(self._evaluations.write, more, step, epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Write the last step's row and the summary, and wait for the worker."""
        if not self._training:
            return
        super().on_train_end(logs)
        self._write_added()
        self._shared = None
        if self._by_steps and self._clock.step > self._row_step:
            self._write(self._epoch_logs)
        self._write_evaluation({})
        self._tracker.submit(self._rows.summarize, self._moment({}))
        # A model may be built by its first batch only.
        self._tracker.update_config(self._host.describe())
        self._training = False
        end_training(self._tracker)
        self._tracker.flush_rows()

    def _plan(self) -> None:
        """Leave rows that fall on every so many executions to the worker, as far as it can know where these end."""
        super()._plan()
        self._streak = None
        clock, policy, steps = self._clock, self._policy, self.params.get("steps")
        is_foreseeable = clock.settled and not clock.must_confirm and not self._surprising
        if not (is_foreseeable and self._recorder.hands_out_rates and isinstance(policy, EverySteps)):
            return
        batches = self._longest_quiet if steps is None else min(self._longest_quiet, steps - self._epoch_batches)
        first, period = self._executions, self._period_of(policy)
        rows = 0 if period is None else 1 + (batches // self._stride - first) // period
        if rows > 1 and period is not None:
            self._executions = self._countdown = first + (rows - 1) * period
            self._streak = Streak(
                self._rows,
                clock.counting_on(),
                first,
                period,
                self._stride,
                self._epoch,
                self._epoch_batches,
                self._steps_per_epoch,
            )

    def _period_of(self, policy: EverySteps) -> int | None:
        """The executions from one row to the next; None if their number varies."""
        batches = policy.steps * self._host.accumulation_steps
        if batches % self._stride == 0:
            return batches // self._stride
        return 1 if batches < self._stride and self._host.accumulation_steps == 1 else None

    def _execution_ended(self, logs: Logs) -> None:
        if self._streak is None or self._countdown <= 1:
            super()._execution_ended(logs)
            return
        self._countdown -= 1
        executions = self._executions - self._countdown
        if not self._streak.has_row_after(executions):
            return
        if self._pending_evaluation is not None:
            self._write_evaluation({})
        self._tracker.submit(
            self._streak.write,
            executions,
            time.monotonic(),
            self._evaluating,
            self._recorder.latest(),
            dict(logs),
        )

    def _end_streak(self) -> None:
        """Count what the worker has been told of; the next row is that of the next step."""
        streak, executions = self._streak, self._executions - self._countdown
        if streak is not None and executions >= streak.first:
            self._next_due = None
            self._settle()
            self._row_step = streak.step_after(streak.last_row(executions) * self._stride)

    def on_due_step_end(self, logs: Logs) -> None:
        """Write the step's row."""
        if self._pending_evaluation is not None:
            self._write_evaluation({})
        self._write(dict(logs))

    def on_quiet_look(self, batches: int) -> None:
        """Hand over the losses before the recorder forgets them."""
        self._unread += batches
        if self._unread >= self._longest_quiet:
            self._unread = 0
            self._tracker.submit(self._rows.take, self._recorder.latest())

    def _write(self, logs: Logs) -> None:
        """Write a row for the training as of now."""
        self._row_step = self._clock.step
        self._unread = 0
        self._tracker.submit(self._rows.write, self._moment(logs))

    def _moment(self, logs: Logs) -> Moment:
        recorder, clock = self._recorder, self._clock
        rate = None if recorder.hands_out_rates else self._host.learning_rate(clock.iterations)
        fraction = self._epoch_batches / self._steps_per_epoch if self._steps_per_epoch else 0.0
        _epochs_reached[self.model] = epoch = self._epoch + fraction
        return Moment(clock.step, epoch, time.monotonic(), self._evaluating, recorder.latest(), rate, logs)

    # -- evaluation and prediction ---------------------------------------------------------------------------------

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Open the run, outside ``fit``, and note the time."""
        if not self._training:
            self._open()
        if self._tracker.active or self._training:
            self._recorder = self._host.record_steps()
            self._test_begin = time.monotonic(), self._recorder.capture()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write the evaluation's row: inside ``fit`` together with what the end of the epoch adds to it."""
        if not (self._tracker.active or self._training):
            return
        began, before = self._test_begin
        seconds = time.monotonic() - began
        if self._pending_evaluation is not None:
            self._write_evaluation({})
        step, epoch = self._now()
        after = self._recorder.capture()
        self._pending_evaluation = Evaluation(step, epoch, seconds, before, after, dict(logs or {}))
        if self._training:
            self._evaluating += seconds
        else:
            self._write_evaluation({})
            self._tracker.flush_rows()

    def log_evaluation(self, metrics: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Write a row of evaluation metrics that were computed elsewhere.

        Args:
            metrics: Named ``eval_...`` or ``test_...``; any other name becomes ``eval/...``. What is no number is left
                out.
            seconds: How long it took; inside ``fit`` this does not count as training time.
        """
        named = {
            evaluation_name(name) or f"eval/{name}": value
            for name, value in metrics.items()
            if to_float(value) is not None
        }
        if self._training:
            self._evaluating += seconds
            self._logged |= named.keys()
        else:
            self._open()
        self._tracker.submit(self._evaluations.write, named, *self._now())
        if not self._training:
            self._tracker.flush_rows()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Open the run."""
        if not self._training:
            self._open()

    def _now(self) -> tuple[int, float | None]:
        """The global step and the epoch, of the fit that is under way or of the last one."""
        if self._training:
            return self._position()
        step = StepClock(self._host, initial_step=self._initial_global_step).step
        return step, _epochs_reached.get(self.model, None if step else 0.0)

    def _write_evaluation(self, more: Mapping[str, Any]) -> None:
        """Write the pending evaluation, and metrics that other callbacks added to the logs of the epoch."""
        evaluation, self._pending_evaluation = self._pending_evaluation, None
        if evaluation is not None:
            replicas = self._host.num_replicas
            self._tracker.submit(self._evaluations.write_evaluation, evaluation, more, replicas)
        elif more:
            self._tracker.submit(self._evaluations.write, more, *self._now())

    # -- the run ---------------------------------------------------------------------------------------------------

    def _open_for_fit(self) -> Tracker:
        return self._open(is_training=True)

    def _open(self, *, is_training: bool = False) -> Tracker:
        self._host = host_of(self.model)
        tracker = open_run(
            self,
            self._settings,
            is_training=is_training,
            initial_step=self._initial_global_step,
            name=self._run_name,
            config=self._config,
        )
        if tracker is not self._tracker:
            self._tracker = tracker
            self._evaluations = EvaluationRows(tracker, self._is_higher_better, self._told)
        return tracker

    def _is_higher_better(self, name: str) -> bool:
        return is_higher_better(name, self._host, self._directions)


def _policy(log_freq: str | int, first: bool) -> Policy:
    if log_freq in ("epoch", "no"):
        return Once(1) if first else Never()
    if log_freq == "batch":
        return EverySteps(1)
    expected = "'epoch', 'batch', 'no' or a number of steps, 1 or more"
    return EverySteps(whole_number("log_freq", log_freq, expected=expected), first=first)
