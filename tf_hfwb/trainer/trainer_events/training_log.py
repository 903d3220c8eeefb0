"""The rows of a training under the names of transformers' ``Trainer``, for ``state.log_history``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb import json_text
from tf_hfwb.background_worker import Worker
from tf_hfwb.evaluation.metric_values import numbers_in
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.foreseen_steps import RegularSteps
from tf_hfwb.fit.metric_rows import Moment, TrainRows
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.fit.stop_after_steps import StopAfterSteps
from tf_hfwb.keras_compat import Logs, to_float
from tf_hfwb.resume.checkpoint_participants import TRAINING_LOG, CaptureState
from tf_hfwb.tracking.row_log import RowLog, parse_row
from tf_hfwb.tracking.run_history import EPOCH, STEP
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents
from tf_hfwb.trainer.training_plan import TrainingPlan


class CollectedRows:
    """Keeps rows instead of a run. Everything but :attr:`rows` is for the worker.

    Attributes:
        rows: Those that nobody has taken yet.
        trained_to: The step of the last one.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.trained_to = 0

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep a row, under the names of the ``Trainer``, which has no rates in them."""
        named = {
            name.removeprefix("train/"): value
            for name, value in row.items()
            if name not in (EPOCH, STEP) and not name.endswith("_per_second")
        }
        first: dict[str, float] = {name: named[name] for name in ("loss", "learning_rate") if name in named}
        self.rows.append({**first, **named, "epoch": row[EPOCH], "step": row[STEP]})

    def summarize(self, values: Mapping[str, Any]) -> None:
        """There is no summary."""


class TrainingLog(StepCallback):
    """Collects the rows that the arguments ask for, whether they are reported or not.

    A worker thread reads the numbers, so that the training thread waits for none unless somebody asks for them.

    Args:
        events: Keeps the history.
        plan: When a row is due.
        stop: Knows the last step.
    """

    place = CallbackPlace.LOGGER
    participant_name = TRAINING_LOG
    _precedes_saving = True

    _rows: TrainRows

    def __init__(self, events: TrainerEvents, plan: TrainingPlan, stop: StopAfterSteps) -> None:
        super().__init__(plan.log_policy)
        self._events, self._stop = events, stop
        self._by_steps, self._by_epochs = isinstance(plan.log_freq, int), plan.log_freq == "epoch"
        self._worker = Worker("tf_hfwb-log-history")
        self._collected = CollectedRows()
        self._history = RowLog(lambda: None)  # What checkpoints hold of the state's own.
        self._epoch_logs: Logs = {}
        self._row_step = 0
        self._last_regular: tuple[RegularSteps, int] | None = None  # A newer row than that.
        self._unread = 0  # Batches since the recorder was read.
        self._has_more = False  # Rows than were taken.

    @property
    def row_step(self) -> int:
        """The step of the last row."""
        if self._last_regular is None:
            return self._row_step
        steps, executions = self._last_regular
        return steps.step_after(executions)

    # -- the fit ---------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin, or continue the history of the resumed training."""
        super().on_train_begin(logs)
        recorder = self._recorder
        self._worker.is_good_moment = lambda: recorder.is_executing
        start = self._moment({})
        self._rows = TrainRows.of(self._session, self._collected, start, set())
        self._row_step, self._last_regular, self._unread, self._epoch_logs = start.step, None, 0, {}
        self._session.participants.add(self)
        self._events.pending_rows = self.take
        self._note_position()
        self._events.position = self._position()

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue the rows and the history of the resumed training."""
        if not state:
            return
        self._rows.resume(state["rows"])
        self._row_step = state["rows"]["row"]["step"]
        kept = self._events.state
        self._history.replace(map(json_text.dumps, state["history"]), state["older_history"])
        kept.log_history[:] = map(parse_row, self._history)
        if state.get("best_by", self._events.best_by) == self._events.best_by:
            kept.best_metric, kept.best_global_step = state["best_metric"], state["best_global_step"]

    def capture_state(self) -> CaptureState:
        """What the next row needs, and all rows so far."""
        kept = self._events.state
        self._worker.flush()
        rows = self._rows.state(self._moment({}))
        if len(self._history) > len(kept.log_history):  # Somebody has shortened it.
            self._history.replace(())
        for row in kept.log_history[len(self._history) :]:
            self._history.append(json_text.dumps(_numbers(row)))
        best = {
            "best_metric": kept.best_metric,
            "best_global_step": kept.best_global_step,
            "best_by": self._events.best_by,
        }
        history = self._history.so_far()
        return lambda: {"rows": rows, **best, "history": history}

    def on_due_step_end(self, logs: Logs) -> None:
        """Collect the step's row."""
        self.write(logs)

    @property
    def takes_regular_steps(self) -> bool:
        """Where the recorder hands the learning rate out with each step, a row needs nothing but that."""
        return self._recorder.hands_out_rates

    def on_regular_step(self, steps: RegularSteps, executions: int, logs: Logs) -> None:
        """Hand over what the step's row is made of."""
        self._last_regular, self._has_more = (steps, executions), True
        latest = self._recorder.latest()
        self._worker.submit(self._write_regular, steps, executions, time.monotonic(), latest, dict(logs))

    def on_quiet_look(self, batches: int) -> None:
        """Hand over the losses before the recorder forgets them."""
        self._unread += batches
        if self._unread >= self._recorder.size // 2:
            self._unread = 0
            self._worker.submit(self._rows.take, self._recorder.latest())

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the last step, now that all callbacks have begun."""
        super().on_epoch_begin(epoch, logs)
        self._events.note_last_step(self._stop.last_step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Collect what is due of the epoch's last step, and the epoch's row."""
        reported = self._recorder.reported
        self._epoch_logs = {name: value for name, value in (logs or {}).items() if name in reported}
        super().on_epoch_end(epoch, self._epoch_logs)
        self._end_epoch()

    def _end_epoch(self) -> None:
        if self._by_epochs:
            self.write(self._epoch_logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Collect the last step's row."""
        super().on_train_end(logs)
        if self._by_steps and self._clock.step > self.row_step:
            self._write_last()
        self._close()

    def _write_last(self) -> None:
        self.write(self._epoch_logs)

    def on_train_interrupted(self) -> None:
        """Keep what there is."""
        self._close()

    def _position(self) -> Callable[[], tuple[int, float]] | None:
        """What tells the state how far the training is."""
        return self._schedule.position

    def _close(self) -> None:
        self._events.position = None
        self._note_position()
        _ = self._events.state  # Takes what is left.
        self._events.pending_rows = list
        self._worker.close()

    def _note_position(self) -> None:
        self._events.note_position(self._clock.step, self._schedule.epoch_after(0))

    # -- rows ------------------------------------------------------------------------------------------------------

    def write(self, logs: Logs) -> None:
        """Collect a row of the training as of now.

        Args:
            logs: What the train step has reported.
        """
        self._row_step, self._last_regular, self._unread = self._clock.step, None, 0
        self._has_more = True
        self._worker.submit(self._write, self._moment(logs))

    def take(self) -> list[dict[str, float]]:
        """The rows since the last call; waits for them."""
        if not self._has_more:
            return []
        self._has_more = False
        self._worker.flush()
        rows, self._collected.rows = self._collected.rows, []
        return rows

    def _moment(self, logs: Logs) -> Moment:
        recorder, clock = self._recorder, self._clock
        rate = None if recorder.hands_out_rates else self._host.learning_rate(clock.iterations)
        epoch = self._schedule.epoch_after(0)
        return Moment(clock.step, epoch, time.monotonic(), 0.0, recorder.latest(), rate, dict(logs))

    def _write(self, moment: Moment) -> None:
        self._rows.write(moment._replace(logs=_single_numbers(moment.logs)))

    def _write_regular(self, steps: RegularSteps, executions: int, now: float, latest: Any, logs: Logs) -> None:
        self._rows.write_regular(steps, executions, now, 0.0, latest, _single_numbers(logs))


def _single_numbers(logs: Logs) -> dict[str, float]:
    """Without what is no number, of which the run's logger tells the user."""
    numbers = {name: to_float(value) for name, value in logs.items()}
    return {name: value for name, value in numbers.items() if value is not None}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in numbers_in(row).items() if not isinstance(value, bool)}
