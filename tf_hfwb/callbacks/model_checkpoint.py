"""``WandbModelCheckpoint``: checkpoints that survive a kill, written beside the training, logged as artifacts."""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
import signal
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.fit.best_checkpoint import BestCheckpoint
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.checkpoint_options import CheckpointOptions, refuse_argument
from tf_hfwb.fit.checkpoint_saver import CheckpointSaver, Save
from tf_hfwb.fit.keras_validation import KerasValidation
from tf_hfwb.fit.loader_checkpoints import join_loader
from tf_hfwb.fit.signals import SignalWatch
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Logs, host_of
from tf_hfwb.resume.checkpoint_participants import CHECKPOINTS, CaptureState
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.user_runs import running_tracker

_logger = logging.getLogger("tf_hfwb")


class WandbModelCheckpoint(StepCallback):
    """Save the whole state of a training, for tf_keras and Keras 3 models, and log it as W&B artifacts if asked to.

    A checkpoint is a directory ``{output_dir}/checkpoint-{step}`` that stock tools open as a model
    (``TFAutoModelFor....from_pretrained``, or ``model.keras`` in it with ``keras.models.load_model``) and from which
    :func:`tf_hfwb.restore` continues exactly where it was taken. It counts only when it is complete on disk, so
    whatever kills the process leaves the one before it. Taking it costs the training thread a few milliseconds; a
    thread of lowest priority writes it.

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
        save_only_model: Save no state of the training. Checkpoints are smaller then, and none can be resumed from.
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
        stop_on_error: Raise in ``fit`` when a checkpoint cannot be written. Else training continues, with a warning.
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
        >>> import keras, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> y = (x[:, 0] > 0).astype("int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> checkpoints = WandbModelCheckpoint("out", save_freq=4, save_total_limit=1)
        >>> history = model.fit(x, y, batch_size=8, verbose=0, callbacks=[checkpoints])
        >>> sorted(path.name for path in pathlib.Path("out").glob("checkpoint-*"))
        ['checkpoint-8']

    Arguments follow ``keras.callbacks.ModelCheckpoint`` and the ``TrainingArguments`` of transformers.
    """

    place = CallbackPlace.SAVING
    participant_name = CHECKPOINTS

    _validation: KerasValidation

    def __init__(
        self,
        output_dir: str | os.PathLike[str] = "",
        *,
        save_freq: Literal["epoch", "no"] | int = "epoch",
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        save_best_only: bool = False,
        save_only_model: bool = False,
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
            refuse_argument(name, value)
        options = self._options = CheckpointOptions(
            output_dir=output_dir,  # type: ignore[arg-type]  # It is a string from then on.
            save_freq=save_freq,
            monitor=monitor,
            mode=mode,
            save_best_only=save_best_only,
            save_only_model=save_only_model,
            save_total_limit=save_total_limit,
            artifact_name=artifact_name,
            link_to_registry=link_to_registry,
            delete_superseded=delete_superseded,
            load_best_at_end=load_best_at_end,
            stop_on_error=stop_on_error,
            arguments=dict(arguments or {}),
        )
        super().__init__(options.policy)
        self._settings = Settings.resolve(log_model=log_model)
        self._best = BestCheckpoint(monitor, mode)
        self._saver = CheckpointSaver(options, self._settings.log_model, self._best, processing_class)
        self._signals = SignalWatch()
        self._writes = False  # The chief does.
        self._is_due = False
        self._due_logs: Logs = {}
        self._saves_after_signal = True
        self._saved_step = -1
        self._num_failed = 0
        self._save_under_way: Save | None = None
        self._saved_steps_per_epoch: int | None = None  # As the checkpoint says from which the fit resumes.

    @property
    def best(self) -> float | None:
        """The best value of ``monitor``; None without one."""
        return self._best.taken.value

    @property
    def best_checkpoint(self) -> pathlib.Path | None:
        """The directory of the best checkpoint."""
        step = self._best.taken.step
        return None if step is None else self._saver.store.path / checkpoint_name(step)

    # -- the fit ---------------------------------------------------------------------------------------------------

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell the callbacks in front, which may open the run, that the output directory is to be taken first."""
        super().set_params(params)
        if self._next_session is not None:
            self._next_session.run.announce_claim(self._claim)

    def _claim(self) -> None:
        if host_of(self.model).is_chief:
            self._saver.claim()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take the output directory, and find out what a checkpoint of this model consists of."""
        self._saver.writer.flush()  # What a fit that ended in an exception has left.
        self._report_errors()
        self._claim()
        host_of(self.model).keep_random_state()
        super().on_train_begin(logs)
        self._recorder.prepare_checkpoints()
        session = self._session
        self._writes = self._host.is_chief
        if self._saver.artifacts.are_wanted:
            tracker = session.run.open(self, self._settings, name=self._options.artifact_name, for_artifacts=True)
            if session.resumption is not None:
                self._saver.artifacts.resume(tracker)
        self._saver.begin(session)
        self._is_due, self._saved_step = False, self._clock.step
        self._validation = KerasValidation(self.model)
        session.participants.add(self)
        join_loader(self.model, session)
        if session.resumption is not None:
            source = session.resumption.source.resolve()
            self._compare_epochs(source)
            if self._writes and source.parent != self._saver.store.path.resolve():
                self._saver.move_in(source)
        session.has_saver = True
        if self._options.saves:
            session.hooks.before.append(self._before_step)
            session.end.save_by(self._save_last)
            # Of several workers none can save alone, and the others may be a step further.
            self._saves_after_signal = not self._host.is_multi_worker
            plan = "saving a checkpoint when this step has ended" if self._saves_after_signal else "ending this step"
            self._signals.start(self.model, f"{plan}, then exiting")

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over what was the best in the resumed training."""
        self._best.begin(self._session, self.model, state)
        self._saved_steps_per_epoch = state.get("steps_per_epoch")

    def capture_state(self) -> CaptureState:
        """What will be the best when this checkpoint is on disk, which is known when it is written."""
        save, steps_per_epoch = self._save_under_way, self._schedule.steps_per_epoch
        best = self._best

        def state() -> dict[str, Any]:
            value, step = best.committed if save is None else save.best
            return {
                "best": value,
                "best_step": step,
                "monitor": best.metric,
                "direction": best.direction,
                "steps_per_epoch": steps_per_epoch,
            }

        return state

    def _compare_epochs(self, source: pathlib.Path) -> None:
        """Say it when the position in the data was counted in epochs of another length."""
        before, now = self._saved_steps_per_epoch, self._schedule.steps_per_epoch
        is_known = before is not None and now is not None
        if is_known and before != now and not self._options.arguments:  # These tell more.
            _logger.warning(
                "Going on from %s with epochs of %d batches, which were of %d: other data, or another batch size. Its "
                "position in the data was counted with those, so some samples are trained on twice in this epoch and "
                "others not at all. Expected the same as then, for a training as if it had never been interrupted.",
                source,
                now,
                before,
            )

    def on_due_step_end(self, logs: Logs) -> None:
        """Save before the next step, when evaluations of this one are done."""
        self._is_due = True
        self._due_logs = dict(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save each epoch, or what is due of the epoch's last step."""
        super().on_epoch_end(epoch, logs)
        logs = self._due_logs = logs or {}
        has_signal = self._signals.received is not None and self._saves_after_signal
        if self._options.by_epochs or self._is_due or has_signal:
            self._save(logs, even_if_worse=has_signal)
        is_evaluation = not self._session.evaluations.are_by_callbacks and self._validation.is_expected(epoch)
        metrics = self._best.measure(self._session, logs)
        self._best.monitoring.see_epoch(self._clock.step, metrics, is_evaluation=is_evaluation)
        self._answer_signal()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Save the last step, wait until everything is on disk, and log the model."""
        super().on_train_end(logs)
        try:
            self._finish()
        finally:
            self._saver.release()

    def _finish(self) -> None:
        saver = self._saver
        self._session.end.reach()
        saver.writer.flush()
        self._report_errors()
        if self._writes:
            self._best.taken = self._best.committed
        self._answer_signal()
        self._signals.stop()
        saver.warn_of_failures(self._num_failed)
        saver.warn_of_changed_base()
        best = saver.load_best(self._session) if self._options.load_best_at_end else None
        if (self._writes or self._host.is_multi_worker) and saver.artifacts.are_wanted:
            saver.log_final(self._session, best)
            self._report_errors()
            running_tracker().flush()
        if self._writes:
            saver.prune_at_end(running_tracker())

    def on_train_interrupted(self) -> None:
        """Finish what was taken before."""
        self._signals.stop()
        self._saver.writer.flush()
        error = self._saver.writer.take_error()
        if error is not None:
            _logger.warning("%s", error)
        self._saver.release()

    def _save_last(self) -> None:
        if not self._options.by_epochs and self._clock.step > self._saved_step:
            self._save(self._due_logs)

    # -- between two steps -----------------------------------------------------------------------------------------

    def _before_step(self) -> None:
        if self._is_due:
            self._save(self._due_logs)
        if self._signals.received is not None:
            self._schedule.catch_up()
            if self._saves_after_signal:
                self._save({}, even_if_worse=True)
            self._answer_signal()
        self._report_errors()

    def _answer_signal(self) -> None:
        """Wait until the checkpoint is on disk, end the run, and exit."""
        received = self._signals.received
        if received is None:
            return
        self._signals.stop()
        self._saver.writer.flush()
        self._report_errors(continues=False)
        self._begin_line()
        self._saver.say_what_is_saved(self._saved_step)
        tracker = running_tracker()
        if received == signal.SIGTERM:
            tracker.mark_preempting()
        tracker.finish(exit_code=128 + received)
        self._saver.release()
        raise SystemExit(128 + received)

    def _report_errors(self, *, continues: bool = True) -> None:
        """Say what the writer's thread could not write, or raise it if the user wants that."""
        error = self._saver.writer.take_error()
        if error is None:
            return
        self._num_failed += 1
        if not self._host.is_multi_worker:  # The other workers do not know; all must save the same steps.
            self._best.take_back()
        if self._options.stop_on_error:
            raise error
        if continues:
            self._begin_line()
        _logger.warning("%s%s", error, " Training goes on." if continues else "")

    # -- saving ----------------------------------------------------------------------------------------------------

    def _save(self, logs: Logs, *, even_if_worse: bool = False) -> None:
        """Take a checkpoint of the model as it is, if that is wanted, and have it written."""
        self._is_due = False
        step = self._clock.step
        if step == self._saved_step:
            return
        best = self._best
        metrics = best.measure(self._session, logs)
        value = best.value_of(metrics)
        best.monitoring.see_save(step, value)
        is_best = best.beats(value, best.taken)
        if self._options.save_best_only and not is_best and not even_if_worse:
            return
        self._saved_step = step
        if is_best:
            best.taken = best.taken._replace(value=value, step=step)
        self._take(metrics, value)

    def _take(self, metrics: Mapping[str, float], value: float | None) -> None:
        """Take the state, on every worker; the chief has it written."""
        schedule, step, tracker = self._schedule, self._clock.step, running_tracker()
        position = schedule.data_position()
        save = self._save_under_way = Save(
            step=step,
            epoch=float(position.epoch) if schedule.is_epoch_over else schedule.epoch_after(0),
            metrics={name: number for name, number in metrics.items() if np.isfinite(number)},
            value=value,
        )
        facts = {
            "global_step": step,
            "epoch": save.epoch,
            "position": dataclasses.asdict(position),
            "metrics": save.metrics,
            "monitor": self._best.metric,
            "best_metric": None,
            "best_step": None,
            "run": tracker.identity,
            "arguments": self._options.arguments,
        }
        state = self._saver.take(self._session, facts)
        save.needed_steps = set(self._session.needed_steps.values())  # Which some find out when they are captured.
        if self._writes:
            self._saver.write_later(save, state, tracker)
            self._warn_that_training_waits()

    def _warn_that_training_waits(self) -> None:
        noticed = self._saver.waits_noticeably()
        if noticed is not None:
            self._begin_line()
            _logger.warning(
                "Checkpoints are made faster than they can be written: training has waited %.0f of its %.0f s for the "
                "disk so far. Save less often, or to a faster disk. This is said once.",
                *noticed,
            )

    def _begin_line(self) -> None:
        """Before a message during the fit: the progress bar has left its line unfinished."""
        if self.params.get("verbose"):
            self._host.say("")
