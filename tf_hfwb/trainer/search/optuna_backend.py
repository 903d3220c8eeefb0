"""The backend optuna: trials one after the other in this process, and in others that share the storage.

A trial that a dead process has left is given back to the queue, under its number and with its hyperparameters, and
continues from its newest checkpoint.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import math
import pathlib
import secrets
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from transformers.trainer_utils import default_hp_space_optuna

from tf_hfwb.errors import SettingError
from tf_hfwb.messages import first_line, inform
from tf_hfwb.resume.find_checkpoint import newest_resumable
from tf_hfwb.trainer.search.objective_values import ObjectiveError
from tf_hfwb.trainer.search.optuna_study import STUDY_OPTIONS, SearchStudy
from tf_hfwb.trainer.search.search_backend import Search, SearchBackend, trial_directory_name
from tf_hfwb.trainer.search.search_trial import (
    SearchResult,
    SearchTrial,
    TrialEvaluation,
    TrialRecord,
    TrialState,
    TrialStoppedError,
    complete_trials,
)
from tf_hfwb.trainer.search.trial_claims import TrialClaims
from tf_hfwb.trainer.search.trial_parameters import RETURNED, found_params, storable

_RUN_OPTIONS = ("timeout", "n_jobs", "gc_after_trial", "catch")
_FOLDER = "search"  # Below the output directory.
# Seconds in which a process writes down that it has taken a trial, where nothing else tells.
_TAKING = 60.0
# What trials and studies carry.
_TAKEN, _NAME, _OBJECTIVE, _RUN, _ERROR, _STEP = "taken", "name", "objective", "run", "error", "step"
_RUN_ID = "run_id"
_REPORTED, _SEARCH_RUN = "reported", "search_run"
_STATES = {
    optuna.trial.TrialState.RUNNING: TrialState.RUNNING,
    optuna.trial.TrialState.WAITING: TrialState.RUNNING,
    optuna.trial.TrialState.COMPLETE: TrialState.COMPLETE,
    optuna.trial.TrialState.PRUNED: TrialState.PRUNED,
    optuna.trial.TrialState.FAIL: TrialState.FAILED,
}

_logger = logging.getLogger("tf_hfwb")


class _Interruption(BaseException):
    """Takes an exception through optuna, which would call the trial a failed one."""


class OptunaBackend(SearchBackend):
    """optuna's samplers and pruners; a search that was interrupted continues.

    Follows ``run_hp_search_optuna`` of transformers.
    """

    def run(self, search: Search) -> SearchResult:
        """Search until all trials have ended, or are under way in other processes."""
        search.refuse_unknown_options(*STUDY_OPTIONS, *_RUN_OPTIONS)
        return _OptunaSearch(search, search.hp_space or default_hp_space_optuna).run()


class _OptunaSearch:
    """A search while it runs."""

    def __init__(self, search: Search, hp_space: Callable[[optuna.Trial], Any]) -> None:
        options = search.options
        if options.get("n_jobs", 1) != 1:
            raise SettingError(
                "n_jobs",
                options["n_jobs"],
                expected="1, as a trainer trains one model at a time",
                advice="Start the script several times: processes with the same output_dir share the trials.",
            )
        self._search, self._hp_space = search, hp_space
        self._catch = options.get("catch", (Exception,))
        self._catch = self._catch if isinstance(self._catch, tuple) else (self._catch,)
        folder = pathlib.Path(search.args.output_dir, _FOLDER)
        name = options.get("study_name") or search.default_name
        self._claims = TrialClaims(folder, name)
        self._claims.begin_choosing()
        try:
            self._study = SearchStudy(search, folder)
            self._study.check_space(hp_space, search.check_params)
            self._study.check_directories(search)
        finally:
            self._claims.end_choosing()

    def run(self) -> SearchResult:
        """Train what is left."""
        options, study = self._search.options, self._study.study
        self._claims.begin_choosing()
        try:
            self._tell_earlier()
            if self._find_left():
                study.optimize(
                    self._train,
                    timeout=options.get("timeout"),
                    catch=self._catch,
                    callbacks=[self._choose_next],
                    gc_after_trial=options.get("gc_after_trial", False),
                )
            self._claims.end_trial()
            self._claims.begin_choosing()  # A sampler or the time limit may have ended it.
            return self._end()
        except _Interruption as interruption:
            cause = interruption.__cause__
            if cause is None:
                raise
            raise cause from cause.__cause__
        finally:
            self._claims.end_trial()
            self._claims.end_choosing()

    # -- choosing, by one process at a time ------------------------------------------------------------------------

    def _trials(self) -> Sequence[FrozenTrial]:
        return self._study.study.get_trials(deepcopy=False)

    def _tell_earlier(self) -> None:
        trials = self._trials()
        ended = sum(trial.state.is_finished() for trial in trials)
        if trials:
            inform(
                "The search %r has %d of %d trials already, %d of them ended. For a new search pass another study_name "
                "or output_dir.",
                self._study.name,
                len(trials),
                self._study.num_trials,
                ended,
            )

    def _find_left(self) -> bool:
        """Give trials of dead processes back to the queue; returns whether there is something to train."""
        waiting = 0
        for trial in self._trials():
            if trial.state is optuna.trial.TrialState.RUNNING and self._is_dead(trial):
                self._study.storage.set_trial_state_values(
                    self._study.trial_id(trial.number), optuna.trial.TrialState.WAITING
                )
                waiting += 1
            waiting += trial.state is optuna.trial.TrialState.WAITING
        return waiting > 0 or len(self._trials()) < self._study.num_trials

    def _is_dead(self, trial: FrozenTrial) -> bool:
        if self._claims.was_taken(trial.number):
            return not self._claims.is_alive(trial.number)
        if self._study.has_own_storage:
            return True  # Who takes a trial does so before another process may look for dead ones.
        if _TAKEN in trial.user_attrs or trial.datetime_start is None:
            return False  # By a process that does not share the directory.
        return (datetime.datetime.now() - trial.datetime_start).total_seconds() > _TAKING

    def _choose_next(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """The trial of this process has ended."""
        self._claims.end_trial()
        self._claims.begin_choosing()
        if not self._find_left():
            study.stop()

    # -- one trial -------------------------------------------------------------------------------------------------

    def _train(self, trial: optuna.Trial) -> Any:
        try:
            self._claims.take(trial.number)
            trial.set_user_attr(_TAKEN, True)
        finally:
            self._claims.end_choosing()
        try:
            return self._train_trial(trial)
        except TrialStoppedError as error:
            raise optuna.TrialPruned(str(error)) from error
        except (KeyboardInterrupt, ObjectiveError) as error:
            raise _Interruption from error
        except Exception as error:
            trial.set_user_attr(_ERROR, f"{type(error).__name__}: {first_line(error)}")
            raise

    def _train_trial(self, trial: optuna.Trial) -> Any:
        search, number = self._search, str(trial.number)
        folder = pathlib.Path(search.args.output_dir, trial_directory_name(number))
        params = self._hp_space(trial)
        search.check_params(params)
        name = search.name_trial(trial, number)
        trial.set_user_attr(_NAME, name)
        trial.set_user_attr(RETURNED, storable(params))
        checkpoint = newest_resumable(folder) if folder.is_dir() else None
        outcome = search.run_trial(
            SearchTrial(
                number=number,
                name=name,
                given=trial,
                params=params,
                directory=str(folder),
                group=self._study.name,
                checkpoint=None if checkpoint is None else str(checkpoint.path),
                objective=None if checkpoint is None else _objective_before(trial, checkpoint.step or 0),
                hear=lambda evaluation: self._hear(trial, evaluation),
                run_id=_run_id(trial) if checkpoint is None else None,
            )
        )
        trial.set_user_attr(_RUN, dict(outcome.run))
        trial.set_user_attr(_STEP, outcome.step)
        values = outcome.objective
        return values[0] if len(self._search.directions) == 1 else values

    def _hear(self, trial: optuna.Trial, evaluation: TrialEvaluation) -> None:
        """Note an evaluation, and let the pruner look at it. One of a resumed training may be known already."""
        trial.set_user_attr(_OBJECTIVE, [evaluation.step, *evaluation.objective])
        trial.set_user_attr(_STEP, evaluation.step)
        trial.set_user_attr(_RUN, dict(evaluation.run))
        if len(evaluation.objective) > 1:
            return
        known = self._study.storage.get_trial(self._study.trial_id(trial.number)).intermediate_values
        if evaluation.step not in known:
            trial.report(evaluation.objective[0], evaluation.step)
        if trial.should_prune():
            raise TrialStoppedError(
                f"pruned at step {evaluation.step} with an objective of {evaluation.objective[0]:.6g}",
                evaluation.objective,
            )

    # -- the end ---------------------------------------------------------------------------------------------------

    def _end(self) -> SearchResult:
        """What was found; the last process reports it."""
        study, trials = self._study.study, self._trials()
        records = [_record(trial, takes_trial=self._search.takes_trial) for trial in trials]
        complete = [trial for trial in trials if trial.state is optuna.trial.TrialState.COMPLETE]
        best = study.best_trials if complete else []
        best = [study.best_trial] if complete and len(self._search.directions) == 1 else best
        numbers = {trial.number for trial in best}
        result = SearchResult(
            name=self._study.name,
            trials=records,
            best=[record for record in records if int(record.number) in numbers],
            run=study.user_attrs.get(_SEARCH_RUN, {}),
        )
        ended = sum(trial.state.is_finished() for trial in trials)
        if trials and ended == len(trials) and study.user_attrs.get(_REPORTED) != ended:
            run = self._search.report(dataclasses.replace(result, importance=_importance(study)))
            study.set_user_attr(_SEARCH_RUN, dict(run))
            study.set_user_attr(_REPORTED, ended)
        complete_trials(records, f"of the search {self._study.name!r}", otherwise=self._what_ended(trials))
        return result

    def _what_ended(self, trials: Sequence[FrozenTrial]) -> str:
        """What has ended trials that have not failed, or kept them from beginning."""
        timeout = self._search.options.get("timeout")
        reasons = ["pruning"] if trials else []
        if timeout is not None and len(trials) < self._study.num_trials:
            reasons.append(f"the time limit (timeout={timeout})")
        return " and ".join(reasons)


def _run_id(trial: optuna.Trial) -> str:
    """The W&B run of a trial that begins, or begins anew after its process was killed before its first checkpoint."""
    known: str | None = trial.user_attrs.get(_RUN_ID)
    if known is None:
        known = secrets.token_hex(4)
        trial.set_user_attr(_RUN_ID, known)
    return known


def _objective_before(trial: optuna.Trial, step: int) -> tuple[float, ...] | None:
    """The objective of the last evaluation, if that is not made again after a checkpoint of this step."""
    at, *values = trial.user_attrs.get(_OBJECTIVE, [math.inf])
    return tuple(values) if at <= step else None


def _record(trial: FrozenTrial, *, takes_trial: bool) -> TrialRecord:
    known = trial.user_attrs
    last = tuple(known.get(_OBJECTIVE, [0])[1:])
    return TrialRecord(
        number=str(trial.number),
        name=known.get(_NAME, trial_directory_name(str(trial.number))),
        params=found_params(trial, takes_trial=takes_trial),
        state=_STATES[trial.state],
        objective=tuple(trial.values) if trial.state is optuna.trial.TrialState.COMPLETE else last,
        step=known.get(_STEP),
        run=known.get(_RUN, {}),
        error=known.get(_ERROR, "the objective is not a number") if _STATES[trial.state] is TrialState.FAILED else "",
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    """How much each hyperparameter matters for the first objective; nothing is known of too few trials."""
    target = None
    if len(study.directions) > 1:
        sign = -1 if study.directions[0] is optuna.study.StudyDirection.MAXIMIZE else 1
        target = lambda trial: sign * trial.values[0]  # noqa: E731 - it looks for low values
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # optuna warns where all are called equal for want of trials.
            warnings.filterwarnings("ignore", message=".*to achieve low")
            return optuna.importance.get_param_importances(study, target=target)
    except Exception as error:  # In many ways, such as by choices that are lists. The result must not depend on it.
        _logger.debug("The importance of hyperparameters is not known: %s", error)
        return {}
