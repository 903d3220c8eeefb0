"""``WandbModelCheckpoint``: checkpoints that survive a kill, written while training goes on, logged as artifacts."""

from __future__ import annotations

import logging
import os
import pathlib
import signal
import string
import time
import weakref
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tf_hfwb.checkpoint.background_writer import BackgroundWriter
from tf_hfwb.checkpoint.store import Checkpoint, Pace, Store
from tf_hfwb.errors import CheckpointError, SettingError
from tf_hfwb.fit.best_monitoring import Monitoring
from tf_hfwb.fit.carried_best import carry_over
from tf_hfwb.fit.evaluations import ValidationByKeras
from tf_hfwb.fit.fit_run import announce_claim, open_fit_run
from tf_hfwb.fit.metric_direction import is_higher_better
from tf_hfwb.fit.metric_names import named, possible_rows, row_name
from tf_hfwb.fit.signals import SignalWatch
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.fit.training_artifacts import ModelArtifacts
from tf_hfwb.keras_compat import (
    Logs,
    describe_value,
    has_callbacks_of_others,
    host_of,
    texts_of_processing,
    to_float,
    write_texts,
)
from tf_hfwb.messages import inform
from tf_hfwb.resume.training_state import StateCapture, TrainingState, load_weights
from tf_hfwb.settings import LogModel, Settings
from tf_hfwb.step_policies import EverySteps, Never, Policy, is_better
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.artifact_names import checked_artifact_name
from tf_hfwb.tracking.registry import registry_path
from tf_hfwb.tracking.user_runs import running_tracker
from tf_hfwb.validation.argument_checks import directory, plain, whole_number

_logger = logging.getLogger("tf_hfwb")

# From when on it is worth a word that training waits for the disk: seconds, and their share of all the time.
_NOTICEABLE = 5.0, 0.05

FINAL = "model"  # The directory of the model at the end of training.


class WandbModelCheckpoint(StepCallback):
    """Save the whole state of a training, for tf_keras and Keras 3 models, and log it as W&B artifacts if asked to.

    A checkpoint is a directory ``{output_dir}/checkpoint-{step}`` that stock tools open as a model
    (``TFAutoModelFor....from_pretrained``, or ``model.keras`` in it with ``keras.models.load_model``) and from which
    :func:`tf_hfwb.restore` goes on exactly where it was taken. It counts only when it is complete on disk, so whatever
    kills the process leaves the one before it. Taking it costs the training thread a few milliseconds; a thread of
    lowest priority writes it.

    SIGTERM and the first Ctrl-C save a checkpoint when the running step has ended, close the W&B run and exit with the
    conventional code (143, 130); a second signal exits at once. In notebooks signals are left alone.

    Put it behind the callbacks whose work at the end of an epoch a checkpoint should hold.

    Args:
        output_dir: Where the checkpoints go; made if it is not there. One process at a time.
        save_freq: ``"epoch"``, or a number of optimizer steps; then also the last step. ``"no"``: no checkpoint, only
            the model at the end, where it is logged.
        monitor: The metric that tells which checkpoint is best: ``val_x``, ``eval_x`` and ``eval/x`` are the same. It
            is looked at when it was measured at the very step that is saved. None: none is best.
        mode: ``"min"``, ``"max"``, or ``"auto"``: as the compiled metric itself says, else by its name.
        save_best_only: Save only when ``monitor`` is better than at every save before.
        save_total_limit: How many checkpoints to keep; the newest, the best, and the one whose weights an
            :class:`EarlyStopping` in the same fit would restore stay in any case.
        log_model: ``"checkpoint"``, ``"end"`` or ``"false"``; else ``WANDB_LOG_MODEL``.
        processing_class: The tokenizer or processor, saved with the model.
        artifact_name: The artifacts' name without ``checkpoint-`` and ``model-``; else the run's name, else its id.
        link_to_registry: A collection of the model registry into which the model at the end is put; it is logged for
            that whatever ``log_model`` says. Needs an online run.
        delete_superseded: With ``save_total_limit``, also delete older versions of the checkpoint artifact on the
            server once newer ones are there; never one with an alias of the user's, ``best``, or in a registry.
        load_best_at_end: Put the weights of the best checkpoint into the model when training ends.
        stop_on_error: Raise in ``fit`` when a checkpoint cannot be written. Else training goes on, with a warning.
        arguments: What the training was started with, for ``trainer_state.json``.

    Attributes:
        best: The best value of ``monitor`` among the checkpoints, of those too that are being written; None without
            one.
        best_checkpoint: Its directory; None without one.

    Raises:
        SettingError: An argument is out of range, or ``save_best_only`` or ``load_best_at_end`` without ``monitor``.
        DirectoryInUseError: When ``fit`` begins: another process saves into ``output_dir``.
        CheckpointWriteError: When ``fit`` begins: ``output_dir`` cannot be written. Later only with ``stop_on_error``.

    Example:
        >>> checkpoints = WandbModelCheckpoint("out", save_freq=500, monitor="val_loss", save_total_limit=2)
        >>> # model.fit(dataset, callbacks=[WandbMetricsLogger(100), checkpoints])

    Arguments follow ``keras.callbacks.ModelCheckpoint`` and the ``TrainingArguments`` of transformers.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str] = "",
        *,
        save_freq: Literal["epoch", "no"] | int = "epoch",
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        save_best_only: bool = False,
        save_total_limit: int | None = None,
        log_model: str | None = None,
        processing_class: Any = None,
        artifact_name: str | None = None,
        link_to_registry: str | None = None,
        delete_superseded: bool = False,
        load_best_at_end: bool = False,
        stop_on_error: bool = False,
        arguments: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        for name, value in others.items():
            _refuse(name, value)
        super().__init__(_policy(save_freq))
        if mode not in ("auto", "min", "max"):
            raise SettingError("mode", mode, accepted=("auto", "min", "max"))
        if monitor is not None and not isinstance(monitor, str):
            raise SettingError("monitor", monitor, expected="the name of a metric, such as 'val_loss'")
        if save_total_limit is not None:
            save_total_limit = whole_number(
                "save_total_limit", save_total_limit, expected="a number of checkpoints, 1 or more"
            )
        if delete_superseded and save_total_limit is None:
            raise SettingError(
                "delete_superseded",
                delete_superseded,
                expected="False without a limit",
                advice="Pass save_total_limit=3, for example.",
            )
        for name, value in (("save_best_only", save_best_only), ("load_best_at_end", load_best_at_end)):
            if value and monitor is None:
                raise SettingError(name, value, expected="False without a metric", advice="Pass monitor='val_loss'.")
        for name, given in (("monitor", monitor), ("save_total_limit", save_total_limit)):
            if given is not None and save_freq == "no":
                raise SettingError(name, given, expected="None with save_freq='no', where no checkpoint is saved")
        self._settings = Settings.resolve(log_model=log_model)
        self._artifact_name = None if artifact_name is None else checked_artifact_name(artifact_name)
        self._output_dir = _directory(output_dir)  # As the user wrote it, for messages.
        self._store = Store(os.path.abspath(directory("output_dir", output_dir)))
        self._by_epochs = save_freq == "epoch"
        self._saves = save_freq != "no"
        self._monitored = monitor
        self._monitor = None if monitor is None else row_name(monitor)  # In the rows, as far as that is known by now.
        self._mode = mode
        self._best_only = save_best_only
        self._limit = save_total_limit
        self._processing_class = processing_class
        self._artifacts = ModelArtifacts(
            self._settings.log_model,
            self._artifact_name,
            None if link_to_registry is None else registry_path(link_to_registry),
            save_total_limit if delete_superseded else None,
        )
        self._load_best_at_end = load_best_at_end
        self._stop_on_error = stop_on_error
        self._arguments: dict[str, Any] = plain("arguments", arguments or {})
        self._writer = BackgroundWriter(self._store.path)
        self._signals = SignalWatch()
        self._lock: Any = None
        self._previous: Checkpoint | None = None
        self._has_looked_for_previous = False
        self._is_due = False
        self._saved_step = -1
        self._failed = 0
        self._has_warned = False
        self.best: float | None = None
        self._best_step: int | None = None
        # The same of those that are on disk, and of those that are when the one that is being written is.
        self._committed: tuple[float | None, int | None] = None, None
        self._writing: tuple[float | None, int | None] = self._committed
        self._has_loaded_best = False
        self._needed: set[int] = set()  # Steps that stay, as of the last save.
        self._others: set[int] = set()  # Steps that were there when a training began that was elsewhere before.
        self._monitoring = Monitoring(self._monitor)

    @property
    def best_checkpoint(self) -> pathlib.Path | None:
        """The directory of the best checkpoint."""
        return None if self._best_step is None else self._store.path / f"checkpoint-{self._best_step}"

    # -- the fit ---------------------------------------------------------------------------------------------------

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell the callbacks in front, which may open the run, that the output directory is to be taken first."""
        super().set_params(params)
        announce_claim(self, self._claim)

    def _claim(self) -> None:
        if host_of(self.model).is_chief and self._lock is None:
            lock = self._store.exclusive()
            lock.__enter__()
            self._lock = lock
            # An exception in fit calls no hook; the directory is free again when this object is gone.
            weakref.finalize(self, self._lock.__exit__, None, None, None)
            self._store.sweep()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take the output directory, and find out what a checkpoint of this model consists of."""
        self._writer.flush()  # What a fit that ended in an exception has left.
        self._report_errors()
        self._claim()
        self._host = host_of(self.model)
        self._host.keep_random_state()
        super().on_train_begin(logs)
        self._writes = self._host.is_chief
        if self._artifacts.are_wanted:
            tracker = open_fit_run(self, self._settings, name=self._artifact_name)
            if self._resumption is not None:
                self._artifacts.go_on(tracker)
        # What is made by the first batch only is looked up at the first save.
        self._capture = StateCapture(self._host) if self._host.is_built else None
        self._began, self._waited_before, self._has_said_that_it_waits = time.monotonic(), self._writer.waited, False
        self._processing = texts_of_processing(self._processing_class)
        self._is_due = False
        self._saved_step = self._clock.step
        resumed = self._resumed("WandbModelCheckpoint")
        self._committed = resumed.get("best", self.best), resumed.get("best_step", self._best_step)
        self.best, self._best_step = self._committed
        if self._monitored is not None:
            rows = possible_rows(self._monitored)
            self._monitor = resumed["monitor"] if resumed.get("monitor") in rows else rows[0]
            if self._mode != "auto":
                self._fit.directions |= dict.fromkeys(rows, self._mode == "max")
        if self._resumption is not None:
            source = self._resumption.source.resolve()
            self._compare_epochs(source, resumed.get("steps_per_epoch"))
            if self._writes and source.parent != self._store.path.resolve():
                self._move_in(source)
        self._monitoring = Monitoring(self._monitor, may_be_added=has_callbacks_of_others(self.model))
        self._validation = ValidationByKeras(self.model)
        self._fit.evaluation_listeners.append(self._monitoring.see)
        self._fit.participants["WandbModelCheckpoint"] = self._state
        if self._saves:
            self._fit.gates.append(self._before_step)
            self._fit.last_saves.append(self._save_last)
            self._signals.start(self.model)

    def _compare_epochs(self, source: pathlib.Path, before: int | None) -> None:
        """Say it when the position in the data was counted in epochs of another length."""
        now = self._steps_per_epoch
        if before is not None and now is not None and before != now and not self._arguments:  # These tell more.
            _logger.warning(
                "Going on from %s with epochs of %d batches, which were of %d: other data, or another batch size. Its "
                "position in the data was counted with those, so some samples are trained on twice in this epoch and "
                "others not at all. Expected the same as then, for a training as if it had never been interrupted.",
                source,
                now,
                before,
            )

    def _move_in(self, source: pathlib.Path) -> None:
        """Training goes on from a checkpoint elsewhere."""
        self._others = {checkpoint.step or 0 for checkpoint in self._store.checkpoints()}
        value, step = self._committed
        if not self._load_best_at_end or value is None or step is None:
            return
        if not carry_over(self._store, source, step, self._monitor, value):
            _logger.warning(
                "The best checkpoint so far (step %d, %s=%s) does not lie beside %s. Expected it there, to end with "
                "its weights. Until there is a better one the model will end with its last weights.",
                step,
                self._monitor,
                value,
                source,
            )

    def on_due_step_end(self, logs: Logs) -> None:
        """Save before the next step, when evaluations of this one are done."""
        self._is_due = True
        self._due_logs = dict(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save each epoch, or what is due of the epoch's last step."""
        super().on_epoch_end(epoch, logs)
        if self._is_at_end_of_epoch():
            self._epoch, self._epoch_batches = epoch + 1, 0
        if self._by_epochs or self._is_due or self._signals.received:
            self._save(logs or {}, even_if_worse=bool(self._signals.received))
        is_evaluation = self._fit.evaluated is None and self._validation.is_expected(epoch)
        self._monitoring.see_epoch(self._clock.step, self._metrics(logs or {}), is_evaluation=is_evaluation)
        self._answer_signal()

    def _is_at_end_of_epoch(self) -> bool:
        """Not when something has stopped the fit in the middle of it."""
        steps = self.params.get("steps")
        return not self.model.stop_training if steps is None else self._epoch_batches >= steps

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Save the last step, wait until everything is on disk, and log the model."""
        super().on_train_end(logs)
        self._fit.end(logs or {})
        self._writer.flush()
        self._report_errors()
        self.best, self._best_step = self._committed if self._writes else (self.best, self._best_step)
        self._answer_signal()
        self._signals.stop()
        if self._failed:
            _logger.warning(
                "%d checkpoints could not be written to %s. The newest one there is %s.",
                self._failed,
                self._output_dir,
                self._previous.name if self._previous else "from before this training, if there is one",
            )
        self._has_loaded_best = self._load_best_at_end and self._load_best()
        if self._writes and self._artifacts.are_wanted:
            self._log_final_model()
        if self._writes:
            self._prune(running_tracker())  # What was being uploaded when it should have gone.
        self._release()

    def _save_last(self, logs: Logs) -> None:
        if not self._by_epochs and self._clock.step > self._saved_step:
            self._save(logs)

    def on_interrupt(self) -> None:
        """An exception ended the fit, of which Keras tells no callback: finish what was taken before."""
        self._signals.stop()
        self._writer.flush()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None

    # -- between two steps -----------------------------------------------------------------------------------------

    def _before_step(self) -> None:
        if self._is_due:
            self._save(self._due_logs)
        if self._signals.received is not None:
            self._settle()
            self._save({}, even_if_worse=True)
            self._answer_signal()
        self._report_errors()

    def _answer_signal(self) -> None:
        received = self._signals.received
        if received is None:
            return
        self._signals.stop()
        self._writer.flush()
        self._report_errors(goes_on=False)
        self._begin_line()
        if self._previous is not None:
            is_saved = self._previous.step == self._saved_step
            say = inform if is_saved else _logger.warning
            say(
                "%s %s. Go on from there with restore(model, True, output_dir=%r), or "
                "train(resume_from_checkpoint=True).",
                "Saved" if is_saved else f"Step {self._saved_step} is not saved. The newest checkpoint is",
                os.path.join(self._output_dir, self._previous.name),
                self._output_dir,
            )
        tracker = running_tracker()
        if received == signal.SIGTERM:
            tracker.mark_preempting()
        tracker.finish(exit_code=128 + received)
        self._release()
        raise SystemExit(128 + received)

    def _report_errors(self, *, goes_on: bool = True) -> None:
        error = self._writer.take_error()
        if error is None:
            return
        self._failed += 1
        self.best, self._best_step = self._committed  # Which may have been the one that could not be written.
        if self._stop_on_error:
            raise error
        if goes_on:
            self._begin_line()
        _logger.warning("%s%s", error, " Training goes on." if goes_on else "")

    # -- saving ----------------------------------------------------------------------------------------------------

    def _save(self, logs: Logs, *, even_if_worse: bool = False) -> None:
        self._is_due = False
        step, epoch = self._position()
        if step == self._saved_step:
            return
        metrics = self._metrics(logs)
        value = metrics.get(self._monitor) if self._monitor else None
        self._monitoring.see_save(step, value)
        is_best = value is not None and is_better(value, self.best, higher=self._higher)
        if self._best_only and not is_best and not even_if_worse:
            return
        self._saved_step = step
        if is_best:
            self.best, self._best_step = value, step
        if self._capture is None:
            self._capture = StateCapture(self._host)
        tracker = running_tracker()
        facts = {
            "global_step": step,
            "epoch": epoch,
            "position": {
                "step": step,
                "epoch": self._epoch,
                "batch": self._epoch_batches,
                "batches": self._batches_so_far,
            },
            "metrics": {name: value for name, value in metrics.items() if np.isfinite(value)},
            "monitor": self._monitor,
            "best_metric": None,
            "best_step": None,
            "run": tracker.identity,
            "arguments": self._arguments,
        }
        state = self._capture.take(facts)  # On every worker: reading what replicas share needs all of them.
        needed = {*self._fit.needed_steps.values()}
        if self._writes:
            self._writer.submit(lambda pace: self._write(state, facts, value, needed, tracker, pace))
            self._warn_that_training_waits()

    def _warn_that_training_waits(self) -> None:
        """Say it once, when that has become noticeable."""
        waited, lasted = self._writer.waited - self._waited_before, time.monotonic() - self._began
        seconds, share = _NOTICEABLE
        if self._has_said_that_it_waits or waited < seconds or waited < share * lasted:
            return
        self._has_said_that_it_waits = True
        self._begin_line()
        _logger.warning(
            "Checkpoints are made faster than they can be written: training has waited %.0f of its %.0f s for the "
            "disk so far. Save less often, or to a faster disk. This is said once.",
            waited,
            lasted,
        )

    def _begin_line(self) -> None:
        """Before a message during the fit: the progress bar has left its line unfinished."""
        if self.params.get("verbose"):
            self._host.say("")

    def _metrics(self, logs: Logs) -> dict[str, float]:
        """What is known of this very step, under the rows' names."""
        reported, evaluated = self._recorder.reported, self._fit.evaluated
        known = {name: value for name, value in logs.items() if name not in self._fit.handed_on}
        if evaluated is not None and evaluated[0] == self._clock.step:
            known |= evaluated[1]
        values = named(known, reported)
        numbers = {name: to_float(value) for name, value in values.items()}
        if self._monitored is not None:
            self._monitor = self._monitoring.metric = row_name(self._monitored, reported)
            if self._monitor in numbers and numbers[self._monitor] is None:
                self._monitoring.see_no_number(self._clock.step, describe_value(values[self._monitor]))
        return {name: value for name, value in numbers.items() if value is not None}

    @property
    def _higher(self) -> bool:
        if self._monitor is None or self._mode != "auto":
            return self._mode == "max"
        return is_higher_better(self._monitor, self._host, self._fit.directions)

    def _state(self) -> Any:
        # Called by the writer's thread, which alone knows what is on disk when this checkpoint will be.
        return lambda: {
            "best": self._writing[0],
            "best_step": self._writing[1],
            "monitor": self._monitor,
            "steps_per_epoch": self._steps_per_epoch,
        }

    def _write(
        self,
        state: TrainingState,
        facts: dict[str, Any],
        value: float | None,
        needed: set[int],
        tracker: Tracker,
        pace: Pace,
    ) -> None:
        """On the writer's thread."""
        is_best = value is not None and is_better(value, self._committed[0], higher=self._higher)
        self._writing = (value, facts["global_step"]) if is_best else self._committed
        facts["best_metric"], facts["best_step"] = state.facts["best_metric"], state.facts["best_step"] = self._writing
        with self._store.draft(f"checkpoint-{facts['global_step']}", pace) as draft:
            if not self._has_looked_for_previous:  # Another process's, whose files may be linked if they are whole.
                self._has_looked_for_previous = True
                self._previous = self._store.newest_good()[0]
            state.write(draft, self._previous)
            write_texts(draft, self._processing, self._previous)
            self._previous = draft.commit()
        self._committed = self._writing
        needed = {*needed, facts["global_step"], *(() if self._committed[1] is None else (self._committed[1],))}
        self._needed = needed
        self._prune(tracker)
        if self._settings.log_model is LogModel.CHECKPOINT and tracker.active:
            self._artifacts.log_checkpoint(tracker, self._previous, self._metadata(facts), needed, is_best=is_best)

    def _prune(self, tracker: Tracker) -> None:
        if self._limit is None or not self._needed:
            return
        limit, keep = self._limit, {*self._artifacts.uploading, *self._needed, *self._others}
        gone = self._store.prune(limit + len(self._others), keep=keep)
        if gone and tracker.is_offline and self._settings.log_model is LogModel.CHECKPOINT and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "save_total_limit=%d removes checkpoints that this offline run has logged, the first is %s: what is "
                "gone when it is synced does not get to W&B. Keep them with a higher limit. This is said once.",
                limit,
                gone[0],
            )

    # -- the end ---------------------------------------------------------------------------------------------------

    def _load_best(self) -> bool:
        """Whether the model has the weights of the best checkpoint now."""
        if self.best_checkpoint is None:
            _logger.warning("No checkpoint is the best: %s The model keeps its last weights.", self._monitoring.why())
            return False
        try:
            checkpoint = Checkpoint.open(self.best_checkpoint)
            checkpoint.verify()
            load_weights(self._host, checkpoint)
        except CheckpointError as error:
            _logger.warning(
                "The best checkpoint (step %d, %s=%s) cannot be loaded, so the model keeps its last weights: %s",
                self._best_step,
                self._monitor,
                self.best,
                error,
            )
            return False
        return True

    def _log_final_model(self) -> None:
        tracker = running_tracker()
        if not tracker.active:
            return
        capture = self._capture or StateCapture(self._host)
        weights = capture.files.variables
        values = {
            name: np.asarray(v) for name, v in zip(weights, self._host.snapshot([*weights.values()]), strict=True)
        }
        values |= capture.files.compute_values()
        facts = {"global_step": self._clock.step, "epoch": float(self._epoch), "metrics": {}}
        is_best = self._has_loaded_best
        if is_best:
            facts |= {"global_step": self._best_step, "metrics": {self._monitor: self.best}}
        elif self._fit.restored is not None:
            facts |= self._fit.restored
            is_best = True
        facts["notes"] = dict(self._fit.notes)

        def write(pace: Pace) -> None:
            with self._store.draft(FINAL, pace) as draft:
                capture.files.write(draft, values, self._previous)
                write_texts(draft, self._processing, self._previous)
                model = draft.commit()
            self._artifacts.log_final(tracker, model, self._metadata(facts), is_best=is_best)

        self._writer.submit(write)
        self._writer.flush()
        self._report_errors()
        tracker.flush()

    def _metadata(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **facts["metrics"],
            **facts.get("notes", {}),
            "global_step": facts["global_step"],
            "epoch": facts["epoch"],
            "monitor": self._monitor,
            "monitor_value": facts["metrics"].get(self._monitor),
            "mode": None if self._monitor is None else "max" if self._higher else "min",
            "num_parameters": int(self.model.count_params()),
        }


# Arguments of Keras's and W&B's checkpoints, and what to do about them.
_OF_OTHERS = {
    "filepath": "Pass a directory instead, output_dir='checkpoints': each checkpoint is a directory of its step in it.",
    "save_weights_only": "Leave it out: a checkpoint is the whole state of the training, and load_model takes the "
    "model alone.",
    "verbose": "Leave it out: what is worth a word is logged by the logger 'tf_hfwb'.",
    "initial_value_threshold": "Leave it out: a training that goes on knows its best value.",
}


def _refuse(name: str, value: Any) -> None:
    """An argument that this callback does not have.

    Raises:
        SettingError: W&B's and Keras's callbacks have it.
        TypeError: Nobody has.
    """
    if name not in _OF_OTHERS:
        raise TypeError(f"WandbModelCheckpoint.__init__() got an unexpected keyword argument {name!r}")
    expected = "no such argument: it is one of keras.callbacks.ModelCheckpoint and of W&B's WandbModelCheckpoint"
    raise SettingError(name, value, expected=expected, advice=_OF_OTHERS[name])


def _directory(output_dir: Any) -> str:
    """The path as the user wrote it.

    Raises:
        SettingError: It is none, it is empty, or it is the template of a file's name, as Keras's callback takes one.
    """
    expected, advice = "the directory in which the checkpoints go", "Pass 'checkpoints', for example."
    path = os.fspath(output_dir) if isinstance(output_dir, (str, os.PathLike)) else ""
    if not isinstance(path, str) or not path.strip():
        raise SettingError("output_dir", output_dir, expected=expected, advice=advice)
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(path) if field]
    except ValueError:  # Braces that are no template.
        fields = []
    if fields:
        expected += f", without {{{fields[0]}}}: each checkpoint is a directory 'checkpoint-{{step}}' in it"
        raise SettingError("output_dir", path, expected=expected, advice=advice)
    return path


def _policy(save_freq: str | int) -> Policy:
    if save_freq in ("epoch", "no"):
        return Never()
    return EverySteps(whole_number("save_freq", save_freq, expected="'epoch', 'no' or a number of steps, 1 or more"))
