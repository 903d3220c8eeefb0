"""A trial of Ray Tune: a trainer that trains in a process of its own, from one evaluation to the next."""

from __future__ import annotations

import json
import os
import pathlib
import queue
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from transformers import TrainerCallback, TrainerControl, TrainerState

from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.evaluation.metric_values import numbers_in
from tf_hfwb.messages import first_line
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.search.search_backend import Search, trial_directory_name
from tf_hfwb.trainer.search.search_trial import SearchTrial, TrialEvaluation, TrialState, TrialStoppedError
from tf_hfwb.validation.installed_packages import has_tensorflow

_FACTS = "trial.json"
_PATIENCE = 120.0  # Seconds until a trial that is stopped has ended its run.


@dataclass(frozen=True)
class RayTask:
    """What the processes of trials need.

    Attributes:
        search: The search and its trainer, pickled.
        directory: The working directory of the script.
        environment: Variables that the processes may lack, as on other machines.
        threads: How many threads of TensorFlow an operation may use.
        group: The group of the W&B runs.
        saves: Whether each evaluation is followed by a checkpoint, as a population needs it.
        state_when_stopped: What a trial is that Ray stops: pruned, or paused.
    """

    search: bytes
    directory: str
    environment: Mapping[str, str]
    threads: int
    group: str
    saves: bool
    state_when_stopped: TrialState


class RayTrial(tune.Trainable):
    """Trains on a thread; a step of Ray's is what lies between two evaluations.

    The process of a trial that has ended or pauses is used for the next one, so that TensorFlow is imported once.
    """

    _search: Search
    _task: RayTask
    _output_dir: pathlib.Path
    _thread: threading.Thread | None
    _last: dict[str, Any]  # The last result.
    _checkpoint: pathlib.Path | None  # The one to resume from.
    _facts: dict[str, Any]  # Of that checkpoint.
    _name: str
    _reporter: _Reporter

    def setup(self, config: dict[str, Any], **given: Any) -> None:
        """Prepare the process, and make the trainer anew."""
        task: RayTask = given["task"]
        os.chdir(task.directory)
        os.environ.update(task.environment)
        if has_tensorflow():
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(task.threads)
        self._task, self._search = task, ray.cloudpickle.loads(task.search)
        self._search.args.disable_tqdm = True
        self._output_dir = pathlib.Path(self._search.args.output_dir).absolute()  # A trial's arguments have its own.
        self._reporter = _Reporter(saves=task.saves)
        self._search.add_callback(self._reporter)
        self._begin()

    def _begin(self) -> None:
        self._thread, self._checkpoint = None, None
        self._last, self._facts, self._name = {}, {"lineage": []}, trial_directory_name(self.trial_id)
        self._reporter.begin(self._task.state_when_stopped)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Let the process train another trial."""
        self.cleanup()
        os.chdir(self._task.directory)  # Ray has entered a folder of the trial's.
        self._begin()
        return True

    def step(self) -> dict[str, Any]:
        """Train up to the next evaluation, or to the end."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, daemon=True)
            self._thread.start()
        else:
            self._reporter.let_train()
        found = self._reporter.events.get()
        if isinstance(found, TrialEvaluation):
            self._last = _result(found) | self._description()
            return self._last
        return self._last | found | self._description() | {"done": True}

    def _description(self) -> dict[str, Any]:
        return {"name": self._name, "lineage": _in_words(self._facts["lineage"])}

    def _train(self) -> None:
        """On the thread."""
        number, params = self.trial_id, dict(self.config)
        try:
            self._search.check_params(params)
            self._name = self._search.name_trial(params, number)
            outcome = self._search.run_trial(
                SearchTrial(
                    params=params,
                    number=number,
                    name=self._name,
                    given=params,
                    directory=str(self._directory),
                    group=self._task.group,
                    checkpoint=None if self._checkpoint is None else str(self._checkpoint),
                    objective=self._facts.get("objective"),
                    hear=self._reporter.hear,
                    run_id=number,
                )
            )
            numbers = numbers_in(self._reporter.metrics)
            end = {**numbers, "objective": outcome.objective[0], "step": outcome.step, "run": dict(outcome.run)}
            end["state"] = TrialState.COMPLETE.value
        except TrialStoppedError as error:
            end = {"state": error.state.value}
        except Exception as error:
            end = {"state": TrialState.FAILED.value, "error": f"{type(error).__name__}: {first_line(error)}"}
        self._reporter.events.put(end)

    @property
    def _directory(self) -> pathlib.Path:
        return self._output_dir / trial_directory_name(self.trial_id)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the checkpoint of the last evaluation, by links where the file system has them."""
        saved, facts = self._reporter.saved, {"trial": self.trial_id, "lineage": self._facts["lineage"]}
        if saved is not None:
            facts |= {"step": saved.step, "objective": list(saved.objective)}
            copy_checkpoint(self._directory / checkpoint_name(saved.step), pathlib.Path(checkpoint_dir))
        pathlib.Path(checkpoint_dir, _FACTS).write_text(json.dumps(facts))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Resume from a checkpoint, this trial's own or another one's."""
        facts = json.loads(pathlib.Path(checkpoint, _FACTS).read_text())
        if "step" not in facts:  # It was not saved: the trial begins anew.
            return
        if facts["trial"] != self.trial_id:
            facts["lineage"].append([facts["trial"], facts["step"]])
        self._facts = {**facts, "objective": tuple(facts["objective"])}
        self._last = {"objective": facts["objective"][0], "step": facts["step"]}  # It may fail before the next one.
        # Ray may remove its own before the training has begun.
        kept = pathlib.Path(self.logdir, "resumed")
        shutil.rmtree(kept, ignore_errors=True)
        name = checkpoint_name(facts["step"])
        copy_checkpoint(pathlib.Path(checkpoint, name), kept)
        self._checkpoint = kept / name

    def cleanup(self) -> None:
        """End the training, and with it the run."""
        if self._thread is not None:
            self._reporter.stop()
            self._thread.join(_PATIENCE)


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Hands evaluations to Ray's thread, and lets the training wait until it has decided.

    Args:
        saves: Whether each evaluation is to be followed by a checkpoint.

    Attributes:
        events: The evaluations, and at last how the training has ended.
        saved: The evaluation that belongs to the newest checkpoint.
        metrics: Those of the last evaluation.
    """

    events: queue.Queue[Any]
    saved: TrialEvaluation | None
    metrics: Mapping[str, Any]
    _heard: TrialEvaluation | None  # Until it is saved.
    _state: TrialState
    _is_stopped: bool
    _is_last: bool  # Whether the training ends with this evaluation.

    def __init__(self, *, saves: bool) -> None:
        self._saves = saves
        self._decided = threading.Semaphore(0)
        self.begin(TrialState.PRUNED)

    def begin(self, state_when_stopped: TrialState) -> None:
        """Another training begins."""
        self.events, self.saved, self.metrics = queue.Queue(), None, {}
        self._state = state_when_stopped
        self._heard = None
        self._is_stopped = self._is_last = False
        while self._decided.acquire(blocking=False):
            pass

    def let_train(self) -> None:
        """Ray wants the next evaluation."""
        self._decided.release()

    def stop(self) -> None:
        """Ray wants no more."""
        self._is_stopped = True
        self._decided.release()

    def hear(self, evaluation: TrialEvaluation) -> None:
        """An evaluation has ended."""
        if self._saves:
            self._heard = evaluation
        else:
            self._hand_over(evaluation)

    def on_evaluate(
        self, args: TFTrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **more: Any
    ) -> TrainerControl:
        """Ask for a checkpoint."""
        self.metrics = metrics
        self._is_last = state.global_step >= state.max_steps
        if self._saves:
            control.should_save = True
        return control

    def on_save(self, args: TFTrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """The checkpoint is on disk."""
        heard, self._heard = self._heard, None
        if heard is not None and heard.step == state.global_step:
            self.saved = heard
            self._hand_over(heard)

    def _hand_over(self, evaluation: TrialEvaluation) -> None:
        if self._is_last:  # Told with the end, as schedulers count what they are told.
            return
        self.events.put(evaluation)
        self._decided.acquire()
        if self._is_stopped:
            raise TrialStoppedError(
                f"{self._state.value} by Ray at step {evaluation.step}", evaluation.objective, self._state
            )


def copy_checkpoint(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Put a copy of a checkpoint into a folder, under its own name."""

    def copy(file: str, there: str) -> None:
        try:
            os.link(file, there)
        except OSError:  # Another file system.
            shutil.copy2(file, there)

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, folder / source.name, copy_function=copy)


def _result(evaluation: TrialEvaluation) -> dict[str, Any]:
    return {
        **numbers_in(evaluation.metrics),
        "objective": evaluation.objective[0],
        "step": evaluation.step,
        "run": dict(evaluation.run),
    }


def _in_words(lineage: list[list[Any]]) -> str:
    return ", ".join(f"{trial} at step {step}" for trial, step in lineage)
