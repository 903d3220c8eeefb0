"""A callback that shows how far a training is."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.fit.stop_after_steps import StopAfterSteps
from tf_hfwb.keras_compat import Callback, Logs, last_losses, to_float
from tf_hfwb.trainer.progress.notebook_table import NotebookTable
from tf_hfwb.trainer.progress.progress_line import Progress, bar_line, log_line
from tf_hfwb.trainer.progress.progress_output import Medium, ProgressOutput
from tf_hfwb.trainer.progress.step_pace import StepPace, seconds_between_lines

_logger = logging.getLogger("tf_hfwb")

_LOOK_SECS = 0.5
_AVERAGED_STEPS = 100  # The loss is the mean of so many steps.


class TrainingProgress(StepCallback):
    """Shows step, loss, rate and the time that is left, for the whole training.

    A thread looks twice a second how far the training is. So the training thread does nothing for it from step to step,
    unlike for Keras's own bar, whose hooks run after each of them.

    On a terminal there is a bar, and a line for each evaluation and each epoch; in a notebook a bar below a table, in
    which they are rows, as transformers' ``NotebookProgressCallback`` has it. In a log there is no
    bar but a line now and then, every 10 seconds at first and every 10 minutes in a training of hours. There an epoch
    gets a line if it was evaluated, or if one is due.

    Callbacks print, most often at the end of an epoch and after an evaluation. Until they have done so there is no bar
    in their way.

    Args:
        steps: The steps of the whole training.

    Attributes:
        has_begun: Whether anything was shown.
        first_step: The global step with which the training began, be it in an earlier process.
    """

    place = CallbackPlace.PROGRESS

    _stop: StopAfterSteps
    _output: ProgressOutput
    _pace: StepPace

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps
        self.has_begun = False
        self.first_step = self._begins_at = 0
        self._epochs = 1
        self._table: NotebookTable | None = None
        self._is_over: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._told_step = -1  # Of the last line that stays.
        self._told_at = 0.0
        self._found: dict[str, float] = {}  # By an evaluation at the end of the epoch.

    def end_with(self, stop: StopAfterSteps) -> None:
        """The training ends with the step that ``stop`` knows when it has begun."""
        self._stop = stop

    # -- the fit ---------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin to show it."""
        super().on_train_begin(logs)
        session = self._session
        self._output = ProgressOutput()
        table = NotebookTable() if self._output.medium is Medium.NOTEBOOK else None
        self._table = table if table is not None and table.is_shown else None
        self.has_begun = True
        self._begins_at = self._clock.step
        self.first_step = self._stop.last_step - self._steps
        self._epochs = self.params["epochs"]
        now = time.monotonic()
        self._pace = StepPace(now, self._begins_at, self._stop.last_step)
        self._told_step, self._told_at, self._found = -1, now, {}
        _logger.addFilter(self._make_room)
        session.evaluations.listen(self._tell_evaluation)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._is_over,), name="tf_hfwb-progress", daemon=True)
        self._thread.start()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell what the epoch has given."""
        super().on_epoch_end(epoch, logs)
        self._output.resume()
        found, self._found = self._found, {}
        if self._clock.step == self._told_step or not self._recorder.has_run:
            return
        if found or self._output.medium is not Medium.LOG or self._is_line_due(time.monotonic()):
            # What was found at an earlier step is in the logs, too.
            self._tell({**self._session.evaluations.own_logs(logs or {}), **found}, epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Take the bar away; the table follows."""
        super().on_train_end(logs)
        self._end()
        self._output.clear()

    def on_train_interrupted(self) -> None:
        """Leave the bar where it was."""
        self._end()
        self._output.leave()

    def around_evaluation(self, evaluate: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        """The function, which evaluates within the fit; while it runs the bar says so."""

        def observed() -> dict[str, Any]:
            pace = self._pace
            pace.leave(time.monotonic())
            try:
                return evaluate()
            finally:
                pace.come_back(time.monotonic())
                self._output.pause()

        return observed

    @property
    def seconds(self) -> float:
        """How long the fit has taken so far."""
        return time.monotonic() - self._pace.began

    def write(self, text: str) -> None:
        """Write lines that stay."""
        self._output.write_line(text)

    def pause(self) -> None:
        """Take the bar away until the end of the epoch has been told."""
        self._output.pause()

    def _make_room(self, record: logging.LogRecord) -> bool:
        """A filter of our own messages, which lets all of them pass."""
        self._output.clear()
        return True

    # -- lines that stay -------------------------------------------------------------------------------------------

    def _tell_evaluation(self, step: int, metrics: dict[str, Any]) -> None:
        """An evaluation at the end of an epoch gets one line together with it."""
        if self._schedule.is_epoch_over:
            self._found.update(metrics)
        else:
            self._tell(metrics, self._schedule.epoch)
            self._output.resume()

    def _tell(self, metrics: Mapping[str, Any], epoch: int) -> None:
        numbers = {
            _shown_name(name): number
            for name, value in metrics.items()
            if not name.endswith(("runtime", "per_second")) and (number := to_float(value)) is not None
        }
        self._told_step, self._told_at = self._clock.step, time.monotonic()
        progress = self._progress(self._clock.step, epoch)
        if self._table is None:
            self._output.write_line(log_line(progress, numbers))
            return
        loss = {} if progress.loss is None else {"loss": progress.loss}
        self._table.add(self._told_step, {"epoch": self._schedule.epoch_after(0), **loss, **numbers})

    def _is_line_due(self, now: float) -> bool:
        return now - self._told_at >= seconds_between_lines(now - self._pace.began)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _watch(self, is_over: threading.Event) -> None:
        with contextlib.suppress(Exception):  # What is shown must not be what a user hears of an error.
            while True:
                self._look()
                if is_over.wait(_LOOK_SECS):
                    return

    def _look(self) -> None:
        now = time.monotonic()
        self._pace.see(now, min(self._schedule.step_now(), self._stop.last_step))
        step = self._pace.step
        if self._output.medium is not Medium.LOG:
            self._output.show(bar_line(self._progress(step, self._schedule.epoch), self._output.width))
        elif self._pace.has_begun and step != self._told_step and self._is_line_due(now):
            self._told_step, self._told_at = step, now
            self._output.write_line(log_line(self._progress(step, self._schedule.epoch)))

    def _progress(self, step: int, epoch: int) -> Progress:
        now, pace = time.monotonic(), self._pace
        return Progress(
            step,
            self.first_step,
            self._stop.last_step,
            min(epoch + 1, self._epochs),
            self._epochs,
            self._loss(step),
            pace.rate,
            now - pace.began,
            pace.seconds_left(now),
            pace.is_away,
        )

    def _loss(self, step: int) -> float | None:
        """The mean of the last steps of this fit; the epoch's so far where no step hands its loss out."""
        steps = min(step - self._begins_at, _AVERAGED_STEPS)
        if steps <= 0:
            return None
        handed_out = self._recorder.handed_out
        if handed_out is None:
            return to_float(self._recorder.last_logs.get("loss"))
        return float(np.mean(last_losses(np.asarray(handed_out), steps)))

    def _end(self) -> None:
        if self._is_over is not None and self._thread is not None:
            self._is_over.set()
            self._thread.join(timeout=1.0)
            self._is_over = self._thread = None
        _logger.removeFilter(self._make_room)


class ProgressPause(Callback):
    """Stands in front of all callbacks that may print at the end of an epoch.

    Args:
        progress: The bar that would be in their way.
    """

    place = CallbackPlace.LOGGER

    def __init__(self, progress: TrainingProgress) -> None:
        super().__init__()
        self._progress = progress

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Make room."""
        self._progress.pause()


def _shown_name(name: str) -> str:
    return f"eval_{name.removeprefix('val_')}" if name.startswith("val_") else name
