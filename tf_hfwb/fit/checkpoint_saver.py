"""What a checkpoint of a training consists of, and how it gets to the disk and to W&B."""

from __future__ import annotations

import logging
import os
import pathlib
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.background_writer import BackgroundWriter
from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.checkpoint.store import Checkpoint, Pace, Store
from tf_hfwb.errors import CheckpointError
from tf_hfwb.fit.added_files import TakenFiles, take_files
from tf_hfwb.fit.best_checkpoint import Best, BestCheckpoint
from tf_hfwb.fit.best_checkpoint_transfer import carry_over
from tf_hfwb.fit.checkpoint_options import CheckpointOptions
from tf_hfwb.fit.checkpoint_uploader import CheckpointUploader
from tf_hfwb.fit.fit_session import FitSession
from tf_hfwb.fit.swapped_averages import warn_of_swapped_averages
from tf_hfwb.fit.training_artifacts import ModelArtifacts
from tf_hfwb.keras_compat import Host, texts_of_processing, write_texts
from tf_hfwb.messages import inform
from tf_hfwb.resume.lora_base import remove_unneeded_bases
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.resume.training_state import StateCapture, TrainingState
from tf_hfwb.resume.weight_restoring import load_weights
from tf_hfwb.settings import LogModel
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.user_runs import running_tracker

_logger = logging.getLogger("tf_hfwb")

FINAL = "model"  # The directory of the model at the end of training.

# From when on it is worth a word that training waits for the disk: seconds, and their share of all the time.
NOTICEABLE = 5.0, 0.05


@dataclass
class Save:
    """One checkpoint on its way to the disk.

    Attributes:
        step: The global step.
        epoch: The epoch, with its fraction.
        metrics: What was measured at this step, under the rows' names.
        value: The monitored metric among them.
        needed_steps: The steps whose checkpoints callbacks want to find again.
        best: The best checkpoint, once this one is on disk. Known when it is written.
    """

    step: int
    epoch: float
    metrics: dict[str, float]
    value: float | None
    needed_steps: set[int] = field(default_factory=set)
    best: Best = field(default_factory=Best)


class CheckpointSaver:
    """Takes, writes, prunes and logs the checkpoints of an output directory.

    The training thread calls everything but what is named ``_write...``: that runs on the writer's thread.

    Args:
        options: What the user asked for.
        log_model: Which models are logged.
        best: Which checkpoint is the best.
        processing_class: The tokenizer or processor, saved with the model.

    Attributes:
        store: The output directory.
        writer: The thread that writes.
        artifacts: The artifacts of the training.
        previous: The newest checkpoint that is whole; None before it was looked for, or without one.
    """

    def __init__(
        self, options: CheckpointOptions, log_model: LogModel, best: BestCheckpoint, processing_class: Any
    ) -> None:
        self._options = options
        self._log_model = log_model
        self._best = best
        self._processing_class = processing_class
        self.store = Store(options.path)
        self.writer = BackgroundWriter(self.store.path)
        self.artifacts = ModelArtifacts(
            log_model,
            options.artifact_name,
            options.link_to_registry,
            options.save_total_limit if options.delete_superseded else None,
        )
        self.previous: Checkpoint | None = None
        self._has_looked_for_previous = False
        self._capture: StateCapture | None = None
        self._base_name: str | None = None  # Of a model with LoRA, whose checkpoints leave it out.
        self._processing: Any = None
        self._taken_files: TakenFiles | None = None  # Of the state that was taken last.
        self._lock: AbstractContextManager[None] | None = None
        self._count_parameters: Callable[[], int] = lambda: 0
        self._needed: set[int] = set()  # Steps that stay, as of the last save.
        self._uploaders: Sequence[CheckpointUploader] = ()
        self._earlier_steps: set[int] = set()  # Those that lay here when a training moved in.
        self._warns_of_pruning = True
        self._began = 0.0
        self._waited_before = 0.0
        self._warns_of_waiting = True

    # -- the output directory --------------------------------------------------------------------------------------

    def claim(self) -> None:
        """Keep other processes from the directory.

        Raises:
            DirectoryInUseError: Another process has it.
            CheckpointWriteError: It cannot be written.
        """
        if self._lock is None:
            lock = self.store.exclusive()
            lock.__enter__()
            self._lock = lock
            # An exception in fit calls no hook; the directory is free again when this object is gone.
            weakref.finalize(self, lock.__exit__, None, None, None)
            self.store.sweep()

    def release(self) -> None:
        """Let others have the directory."""
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None

    def begin(self, session: FitSession) -> None:
        """A fit begins: find out what a checkpoint of its model consists of."""
        # What is made by the first batch only is looked up at the first save.
        self._capture = self._begin_capture(session.host) if session.host.is_built else None
        self._base_name = None
        if self._options.saves and not self._options.save_only_model:
            warn_of_swapped_averages(session.host.model, self._options.save_freq)
        self._count_parameters = session.host.model.count_params
        self._processing = texts_of_processing(self._processing_class, session.host.model)
        self._uploaders = session.uploaders
        self.writer.pace.follow(session.schedule.step_now)
        self._began, self._waited_before, self._warns_of_waiting = time.monotonic(), self.writer.waited, True

    def _begin_capture(self, host: Host) -> StateCapture:
        return StateCapture(host, only_model=self._options.save_only_model)

    def move_in(self, source: pathlib.Path) -> None:
        """The training resumes from a checkpoint elsewhere: take its best one along.

        Args:
            source: The checkpoint.
        """
        self._earlier_steps = {checkpoint.step or 0 for checkpoint in self.store.checkpoints()}
        value, step = self._best.committed
        if not self._options.load_best_at_end or value is None or step is None:
            return
        if not carry_over(self.store, source, step, self._best.metric, value):
            _logger.warning(
                "The best checkpoint so far (step %d, %s=%s) does not lie beside %s. Expected it there, to end with "
                "its weights. Until there is a better one the model will end with its last weights.",
                step,
                self._best.metric,
                value,
                source,
            )

    # -- a checkpoint ----------------------------------------------------------------------------------------------

    def take(self, session: FitSession, facts: Mapping[str, Any]) -> TrainingState:
        """Take the state as of now. All workers do: reading what replicas share needs all of them."""
        if self._capture is None:
            self._capture = self._begin_capture(session.host)
        # A user's function comes first: what it changes is in the state, as in the training that goes on.
        self._taken_files = take_files(session.added_files, session.host, self.store, facts["global_step"])
        return self._capture.take(facts, session.participants.capture())

    def write_later(self, save: Save, state: TrainingState, tracker: Tracker) -> None:
        """Let the writer's thread write a state that was taken; waits if two are waiting already."""
        files = self._taken_files
        self.writer.submit(lambda pace: self._write(save, state, files, tracker, pace))

    def _write(self, save: Save, state: TrainingState, files: TakenFiles | None, tracker: Tracker, pace: Pace) -> None:
        is_best = self._best.beats(save.value, self._best.committed)
        save.best = Best(save.value, save.step) if is_best else self._best.committed
        state.facts["best_metric"], state.facts["best_step"] = save.best
        base = state.write_base(self.store, pace)
        if base is not None:
            self._base_name = base.name
            if self._log_model is LogModel.CHECKPOINT and tracker.active:
                self.artifacts.log_base(tracker, base)
        with self.store.draft(checkpoint_name(save.step), pace) as draft:
            if not self._has_looked_for_previous:  # Another process's, whose files may be linked if they are whole.
                self._has_looked_for_previous = True
                self.previous = self.store.newest_good()[0]
            state.write(draft, self.previous)
            write_texts(draft, self._processing, self.previous)
            if files is not None:
                files.put_into(draft)
            self.previous = draft.commit()
        state.note_commit(self.previous)
        self._best.committed = save.best
        self._needed = {*save.needed_steps, save.step}
        if save.best.step is not None:
            self._needed.add(save.best.step)
        for uploader in self._uploaders:
            uploader.saved(self.previous, save.step, save.epoch)
        self.prune(tracker)
        if self._log_model is LogModel.CHECKPOINT and tracker.active:
            metadata = self._metadata(save.step, save.epoch, save.metrics) | {"base": self._base_name}
            self.artifacts.log_checkpoint(tracker, self.previous, metadata, self._needed, is_best=is_best)

    def prune(self, tracker: Tracker) -> None:
        """Remove older checkpoints beyond the limit, unless somebody still needs them."""
        limit = self._options.save_total_limit
        if limit is None or not self._needed:
            return
        keep = {*self.artifacts.uploading, *self._needed, *self._earlier_steps}
        keep = keep.union(*(uploader.uploading for uploader in self._uploaders))
        gone = self.store.prune(limit + len(self._earlier_steps), keep=keep)
        if gone:
            remove_unneeded_bases(self.store, self._base_name)
        is_logged = tracker.is_offline and self._log_model is LogModel.CHECKPOINT
        if gone and is_logged and self._warns_of_pruning:
            self._warns_of_pruning = False
            _logger.warning(
                "save_total_limit=%d removes checkpoints that this offline run has logged, the first is %s: what is "
                "gone when it is synced does not get to W&B. Keep them with a higher limit. This is said once.",
                limit,
                gone[0],
            )

    def prune_at_end(self, tracker: Tracker) -> None:
        """Remove what was being uploaded when it should have gone."""
        for uploader in self._uploaders:
            uploader.wait()
        self.prune(tracker)

    def waits_noticeably(self) -> tuple[float, float] | None:
        """The seconds that training has waited for the disk, and all of its seconds; once, when that is noticeable."""
        waited, lasted = self.writer.waited - self._waited_before, time.monotonic() - self._began
        seconds, share = NOTICEABLE
        if not self._warns_of_waiting or waited < seconds or waited < share * lasted:
            return None
        self._warns_of_waiting = False
        return waited, lasted

    def say_what_is_saved(self, step: int) -> None:
        """Say before the process exits where the training can go on.

        Args:
            step: The last one that was to be saved.
        """
        output_dir = self._options.output_dir
        if self.previous is None:
            return
        is_saved = self.previous.step == step
        say = inform if is_saved else _logger.warning
        what = "Saved" if is_saved else f"Step {step} is not saved. The newest checkpoint is"
        advice = f"Go on from there with restore(model, True, {output_dir=}), or train(resume_from_checkpoint=True)."
        if self._options.save_only_model:
            advice = "It is the model alone."
        say("%s %s. %s", what, os.path.join(output_dir, self.previous.name), advice)

    # -- the end ---------------------------------------------------------------------------------------------------

    def warn_of_failures(self, number: int) -> None:
        """Say at the end of a fit how many checkpoints could not be written."""
        if number:
            _logger.warning(
                "%d checkpoints could not be written to %s. The newest one there is %s.",
                number,
                self._options.output_dir,
                self.previous.name if self.previous else "from before this training, if there is one",
            )

    def warn_of_changed_base(self) -> None:
        """Say at the end of a fit when weights have changed that the checkpoints of a LoRA training leave out."""
        if self._capture is not None and self._capture.has_changed_base():
            _logger.warning(
                "Frozen weights have changed since the first checkpoint in %s was saved: its checkpoints need the base "
                "%s, and the model's is another by now. Expected frozen weights to stay as they are while LoRA is "
                "trained. Set trainable=True, and compile, for what is to change: then it is in the checkpoints.",
                self._options.output_dir,
                self._base_name,
            )

    def load_best(self, session: FitSession) -> TrainerState | None:
        """Put the weights of the best checkpoint into the model; None if that cannot be done."""
        value, step = self._best.taken
        if step is None:
            _logger.warning(
                "No checkpoint is the best: %s The model keeps its last weights.", self._best.monitoring.why()
            )
            return None
        session.host.compare_workers({"the best step": step})  # The chief has it on the disk now.
        try:
            checkpoint = Checkpoint.open(self.store.path / checkpoint_name(step))
            checkpoint.verify()
            state = TrainerState.read(checkpoint)
            load_weights(session.host, checkpoint)
        except CheckpointError as error:
            _logger.warning(
                "The best checkpoint (step %d, %s=%s) cannot be loaded, so the model keeps its last weights: %s",
                step,
                self._best.metric,
                value,
                error,
            )
            return None
        return state

    def log_final(self, session: FitSession, loaded: TrainerState | None) -> None:
        """Write the model as it is now, and log it.

        Args:
            session: The fit's.
            loaded: What is known of the best checkpoint, if the model has its weights.
        """
        tracker = running_tracker()
        if not (tracker.active or session.host.is_multi_worker):
            return
        capture = self._capture or self._begin_capture(session.host)
        files = capture.whole_files()
        variables = files.variables
        snapshot = session.host.snapshot([*variables.values()])
        values = {name: np.asarray(value) for name, value in zip(variables, snapshot, strict=True)}
        values |= files.compute_values()
        if not tracker.active:  # Reading what workers share needs all of them.
            return
        step, epoch, metrics = self._final_facts(session, loaded)
        metadata = self._metadata(step, epoch, metrics) | session.end.notes
        is_best = loaded is not None or session.end.restored is not None

        def write(pace: Pace) -> None:
            with self.store.draft(FINAL, pace) as draft:
                files.write(draft, values, self.previous)
                write_texts(draft, self._processing, self.previous)
                model = draft.commit()
            self.artifacts.log_final(tracker, model, metadata, is_best=is_best)

        self.writer.submit(write)
        self.writer.flush()

    def _final_facts(self, session: FitSession, loaded: TrainerState | None) -> tuple[int, float, Mapping[str, float]]:
        """The step, the epoch and the metrics of the weights that the model has at the end."""
        best, restored = self._best.taken, session.end.restored
        if loaded is not None and best.value is not None:
            return loaded.global_step, loaded.epoch, {str(self._best.metric): best.value}
        if restored is not None:
            return restored["global_step"], restored["epoch"], restored["metrics"]
        return session.clock.step, float(session.schedule.next_batch()[0]), {}

    def _metadata(self, step: int, epoch: float, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What an artifact says of the model in it."""
        return {
            **metrics,
            "global_step": step,
            "epoch": epoch,
            "monitor": self._best.metric,
            "monitor_value": self._best.value_of(metrics),
            "mode": self._best.direction,
            "num_parameters": self._count_parameters(),
        }
