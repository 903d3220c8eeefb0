"""What makes the rows of a fit or an evaluation, on one clock, for whatever they are written to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Literal

from tf_hfwb.dashboards.entry_queue import EntryQueue
from tf_hfwb.dashboards.log_entries import Row
from tf_hfwb.fit.added_metrics import AddedMetrics
from tf_hfwb.fit.between_fits import ModelMemory, memory_of
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.exit_record import ExitRecord
from tf_hfwb.fit.foreseen_steps import RegularSteps
from tf_hfwb.fit.logging_policy import logging_policy
from tf_hfwb.fit.metric_direction import MetricDirections
from tf_hfwb.fit.metric_names import evaluation_name
from tf_hfwb.fit.metric_rows import Evaluation, EvaluationRows, Moment, TrainRows
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.fit.step_clock import step_reached
from tf_hfwb.fit.wandb_run import end_training, follow_training, open_run
from tf_hfwb.keras_compat import Logs, host_of, to_float
from tf_hfwb.resume.checkpoint_participants import METRICS_LOGGER, CaptureState
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.dashboard_tracker import Dashboards, SavedRows
from tf_hfwb.validation.argument_checks import check_whole_number


class RowLogger(StepCallback):
    """Makes the rows of ``fit`` and ``evaluate``, each once, for a W&B run, for dashboards, or for both.

    In a fit one of these makes all rows; others that stand beside it add their dashboards to it. The run and the
    dashboards are opened at the first event, not here.

    Args:
        log_freq: As of :class:`~tf_hfwb.WandbMetricsLogger`.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.
        log_first_step: Also a row at the very first step.
        run_name: The run's name.
        config: Merged into the run's config, on top of the model's own.
        settings: Of the W&B run; None to write to none.
        dashboards: The dashboards; None for none.

    Raises:
        SettingError: ``log_freq`` is neither of the words nor a positive number.
    """

    place = CallbackPlace.LOGGER
    participant_name = METRICS_LOGGER
    _precedes_saving = True

    _rows: TrainRows
    _added: AddedMetrics

    def __init__(
        self,
        log_freq: Literal["epoch", "batch", "no"] | int = "epoch",
        initial_global_step: int = 0,
        *,
        log_first_step: bool = False,
        run_name: str | None = None,
        config: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        dashboards: Dashboards | None = None,
    ) -> None:
        first = check_whole_number(
            "initial_global_step", initial_global_step, minimum=0, expected="a number of steps, 0 or more"
        )
        super().__init__(logging_policy(log_freq, log_first_step), first)
        self._by_epochs = log_freq == "epoch"
        self._by_steps = not isinstance(log_freq, str) or log_freq == "batch"
        self._log_freq = log_freq
        self._settings = settings
        self._dashboards = dashboards or Dashboards()
        self._run_name = run_name
        self._config = dict(config or {})
        self._tracker = Tracker()
        self._told: set[str] = set()
        self._evaluations = EvaluationRows(self._tracker, told=self._told)
        self._directions = MetricDirections()
        self._memory = ModelMemory()
        self._pending_evaluation: Evaluation | None = None
        self._test_begin: tuple[float, Any] = 0.0, None  # The time, and what the recorder had then.
        self._epoch_logs: Logs = {}
        self._row_step = 0  # The step of the last row.
        # A newer row than that, of a step that was foreseen.
        self._last_regular: tuple[RegularSteps, int] | None = None
        self._unread = 0  # Batches since the recorder was read.
        self._evaluating = 0.0  # Seconds of this fit.
        self._training = False
        self._has_joined = False  # Another logger of the fit makes the rows.
        self._exit_record = ExitRecord()

    @property
    def tracker(self) -> Tracker:
        """The run that this logger writes to; one without a run before the first event."""
        return self._tracker

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell the callbacks in front, which may need the run first, what it is to be."""
        super().set_params(params)
        if self._next_session is not None:
            self._next_session.run.announce_logger(self)

    @property
    def log_freq(self) -> str | int:
        """When rows are written."""
        return self._log_freq

    @property
    def reports_to_wandb(self) -> bool:
        """Whether a W&B run gets the rows."""
        return self._settings is not None

    @property
    def dashboards(self) -> EntryQueue:
        """The dashboards that get them."""
        return self._dashboards.queue

    # -- training --------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the run and let the model record its steps."""
        session = self._find_session()
        session.run.announce_logger(self)
        self._has_joined = session.run.logger is not self
        if self._has_joined:
            session.begin()
            session.join(self)
            return
        session.run.claim_directory()
        self.open_for_fit()
        # The steps that are recorded add up all workers, so all of them record.
        self._training = self._tracker.active or self._host.is_multi_worker
        if not self._training:
            return
        super().on_train_begin(logs)
        follow_training(self._tracker, self.model, self._schedule.step_now)
        if self._tracker.active:
            self._exit_record.begin(self.model, self._session)
        self._memory = memory_of(self.model)
        self._unread, self._evaluating, self._epoch_logs = 0, 0.0, {}
        self._pending_evaluation = None
        self._added, self._last_regular = AddedMetrics(self._session), None
        self._directions = self._session.directions
        recorder = self._recorder
        self._tracker.prefer(lambda: recorder.is_executing)
        start = self._moment({})
        self._row_step = start.step
        self._rows = TrainRows.of(self._session, self._tracker, start, self._told)
        self._session.evaluations.loggers.append(self.log_evaluation)
        self._session.participants.add(self)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue the rows and the history of the resumed training."""
        self._tracker.forget_rows_after(self._clock.step)
        if not state:
            self._begin_dashboards({}, ())
            return
        self._rows.resume(state["rows"])
        self._row_step = state["rows"]["row"]["step"]
        self._tracker.best.update(state["best"])
        self._tracker.history.replace(map(json.dumps, state["log_history"]), state["older_rows"])
        self._tracker.fill_gaps()
        self._begin_dashboards(state.get("dashboards", {}), SavedRows(self._tracker.history.so_far()))

    def _begin_dashboards(self, resumed: Mapping[str, Mapping[str, str]], rows: Iterable[Row]) -> None:
        tracker = self._tracker
        if tracker.dashboards:
            name = self._run_name or tracker.identity.get("name")
            tracker.submit(tracker.dashboards.begin, self._clock.step, name, resumed, rows)
            self._configure_dashboards()

    def _configure_dashboards(self) -> None:
        if self._tracker.dashboards:
            self._tracker.configure_dashboards({**self._host.describe(), **self._config})

    def capture_state(self) -> CaptureState:
        """What the next row needs, and all rows so far; another thread waits for them."""
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
            state = {"rows": rows.state(moment), "best": dict(tracker.best), "log_history": tracker.history.so_far()}
            if tracker.dashboards:
                tracker.dashboards.flush()
                state["dashboards"] = tracker.dashboards.identities
            answer.set_result(state)
        except Exception as error:
            answer.set_exception(error)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start counting the epoch's batches."""
        if self._training:
            self._write_added()
            self._added.begin_epoch()
            super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write what is due of the epoch's last step, the epoch's row, and the row of its validation."""
        if not self._training:
            return
        logs = {} if logs is None else logs
        reported = self._recorder.reported
        self._epoch_logs = {name: value for name, value in logs.items() if name in reported}
        super().on_epoch_end(epoch, self._epoch_logs)
        if self._by_epochs:
            self._write(self._epoch_logs)
        if self._pending_evaluation is not None and self._pending_evaluation.step < self._clock.step:
            self._write_evaluation({})
        self._write_evaluation(self._added.find(logs))
        self._added.end_epoch(logs)

    def _write_added(self) -> None:
        """Write what callbacks behind this one have added to the logs of the epoch that has ended."""
        late = self._added.find_late()
        if late is not None:
            self._tracker.submit(self._evaluations.write, *late)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Write the last step's row and the summary, and wait for the worker."""
        self._has_joined = False
        if not self._training:
            return
        super().on_train_end(logs)
        self._write_added()
        if self._last_regular is not None:
            steps, executions = self._last_regular
            self._row_step = steps.step_after(executions)
        if self._by_steps and self._clock.step > self._row_step:
            self._write(self._epoch_logs)
        self._write_evaluation({})
        self._tracker.submit(self._rows.summarize, self._moment({}))
        # A model may be built by its first batch only.
        self._tracker.update_config(self._host.describe())
        self._configure_dashboards()
        self._training = False
        end_training(self._tracker)
        self._tracker.flush_rows()
        self._exit_record.end()

    def on_train_interrupted(self) -> None:
        """What is evaluated from now on does not belong to the fit."""
        self._training = self._has_joined = False
        self._pending_evaluation = None
        self._exit_record.stop()

    def on_due_step_end(self, logs: Logs) -> None:
        """Write the step's row."""
        if self._pending_evaluation is not None:
            self._write_evaluation({})
        self._write(dict(logs))

    @property
    def takes_regular_steps(self) -> bool:
        """Where the recorder hands the learning rate out with each step, a row needs nothing but that."""
        return self._recorder.hands_out_rates

    def on_regular_step(self, steps: RegularSteps, executions: int, logs: Logs) -> None:
        """Hand over what the step's row is made of."""
        self._last_regular = steps, executions
        if self._pending_evaluation is not None:
            self._write_evaluation({})
        latest = self._recorder.latest()
        self._tracker.submit(
            self._rows.write_regular, steps, executions, time.monotonic(), self._evaluating, latest, dict(logs)
        )

    def on_quiet_look(self, batches: int) -> None:
        """Hand over the losses before the recorder forgets them."""
        self._unread += batches
        if self._unread >= self._recorder.size // 2:
            self._unread = 0
            self._tracker.submit(self._rows.take, self._recorder.latest())

    def _write(self, logs: Logs) -> None:
        """Write a row for the training as of now."""
        self._row_step, self._last_regular = self._clock.step, None
        self._unread = 0
        self._tracker.submit(self._rows.write, self._moment(logs))

    def _moment(self, logs: Logs) -> Moment:
        recorder, clock = self._recorder, self._clock
        rate = None if recorder.hands_out_rates else self._host.learning_rate(clock.iterations)
        epoch = self._schedule.epoch_after(0)
        self._memory.epoch = epoch  # For an evaluation after the fit, however that ends.
        return Moment(clock.step, epoch, time.monotonic(), self._evaluating, recorder.latest(), rate, logs)

    # -- evaluation and prediction ---------------------------------------------------------------------------------

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Open the run, outside ``fit``, and note the time."""
        if self._has_joined:
            return
        if not self._training:
            self._open()
        if self._tracker.active or self._training:
            self._test_begin = time.monotonic(), self._host.record_steps().capture()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write the evaluation's row: inside ``fit`` together with what the end of the epoch adds to it."""
        if self._has_joined or not (self._tracker.active or self._training):
            return
        began, before = self._test_begin
        seconds = time.monotonic() - began
        if self._pending_evaluation is not None:
            self._write_evaluation({})
        step, epoch = self._now()
        after = self._host.record_steps().capture()
        self._pending_evaluation = Evaluation(step, epoch, seconds, before, after, dict(logs or {}))
        if self._training:
            self._evaluating += seconds
        else:
            self._write_evaluation({})
            self._tracker.flush_rows()

    def log_evaluation(self, metrics: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Write a row of evaluation metrics that were computed elsewhere.

        Args:
            metrics: Named ``eval_...``, ``test_...`` or ``train/...``; any other name becomes ``eval/...``. What is no
                number is left out.
            seconds: How long it took; inside ``fit`` this does not count as training time.
        """
        if self._has_joined:
            return
        named = {
            name if name.startswith("train/") else evaluation_name(name) or f"eval/{name}": value
            for name, value in metrics.items()
            if to_float(value) is not None
        }
        if self._training:
            self._evaluating += seconds
            self._added.leave_out(named)
        else:
            self._open()
        self._tracker.submit(self._evaluations.write, named, *self._now())
        if not self._training:
            self._tracker.flush_rows()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Open the run."""
        if not (self._training or self._has_joined):
            self._open()

    def _now(self) -> tuple[int, float | None]:
        """The global step and the epoch, of the fit that is under way or of the last one."""
        if self._training:
            return self._schedule.position()
        step, epoch = step_reached(self._host, self._initial_global_step), memory_of(self.model).epoch
        return step, 0.0 if epoch is None and not step else epoch

    def _write_evaluation(self, more: Mapping[str, Any]) -> None:
        """Write the pending evaluation, and metrics that other callbacks added to the logs of the epoch."""
        evaluation, self._pending_evaluation = self._pending_evaluation, None
        if evaluation is not None:
            self._tracker.submit(self._evaluations.write_evaluation, evaluation, more)
        elif more:
            self._tracker.submit(self._evaluations.write, more, *self._now())

    # -- the run ---------------------------------------------------------------------------------------------------

    def open_for_fit(self) -> Tracker:
        """Open the run of a fit, with the dashboards of all its loggers."""
        session = self._find_session()
        return self._open(session.run.dashboards, fit=session.params)

    def _open(self, queue: EntryQueue | None = None, *, fit: Mapping[str, Any] | None = None) -> Tracker:
        self._host = host_of(self.model)
        tracker, first, name = Tracker(), self._initial_global_step, self._run_name
        if self._settings is not None:
            tracker = open_run(self, self._settings, fit=fit, initial_step=first, name=name, config=self._config)
        if self._host.is_chief:
            tracker = self._dashboards.attach(tracker, self._dashboards.queue if queue is None else queue)
        if tracker is not self._tracker:
            self._tracker = tracker
            self._evaluations = EvaluationRows(tracker, self._is_higher_better, self._told)
        if fit is None:
            self._configure_dashboards()
        return tracker

    def _is_higher_better(self, name: str) -> bool:
        return self._directions.is_higher_better(name, self._host)
