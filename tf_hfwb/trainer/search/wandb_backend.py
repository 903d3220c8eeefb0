"""The backend wandb: a sweep, of which the W&B server chooses the trials and which any number of agents share."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from transformers.trainer_utils import default_hp_space_wandb

from tf_hfwb.errors import SettingError
from tf_hfwb.messages import first_line
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.run_history import STEP
from tf_hfwb.tracking.sweeps import begin_sweep, is_from_agent, mark_ended_run, open_run_of_sweep, run_agent
from tf_hfwb.tracking.user_runs import log_in_open_run
from tf_hfwb.trainer.search.search_backend import Search, SearchBackend, trial_directory_name
from tf_hfwb.trainer.search.search_trial import (
    SearchResult,
    SearchTrial,
    TrialEvaluation,
    TrialRecord,
    TrialState,
    best_trial,
    complete_trials,
    objective_names,
)

_OPTIONS = ("sweep_id", "project", "entity", "name", "metric")
_OBJECTIVE = "objective"

_logger = logging.getLogger("tf_hfwb")


class WandbBackend(SearchBackend):
    """Sweeps: grid, random and Bayesian, with Hyperband's early termination.

    Follows ``run_hp_search_wandb`` of transformers, whose default for ``metric`` is ``"eval/loss"``.
    """

    def run(self, search: Search) -> SearchResult:
        """Begin a sweep or join one, and train trials until there are no more, ``n_trials`` at most."""
        search.refuse_unknown_options(*_OPTIONS)
        _check_reports(search)
        return _Sweep(search).run()


class _Sweep:
    """A sweep, and the trials of it that this process trains."""

    def __init__(self, search: Search) -> None:
        self._search, self._options = search, search.options
        self._project = self._options.get("project") or Settings.resolve().project
        self._entity = self._options.get("entity")
        self._metric = self._options.get("metric") or _OBJECTIVE
        self._id = self._options.get("sweep_id") or self._begin()
        self._name = str(self._options.get("name") or search.args.run_name or self._id)
        self._records: list[TrialRecord] = []
        self._error: BaseException | None = None

    def _begin(self) -> str:
        search = self._search
        config = dict(_sweep_config((search.hp_space or default_hp_space_wandb)(None)))
        for params in _examples(config["parameters"]):
            search.check_params(params)
        metric = {**config.get("metric", {}), "name": self._metric, "goal": search.directions[0]}
        config |= {"metric": metric, "name": self._options.get("name") or search.default_name}
        return begin_sweep(config, self._entity, self._project)

    def run(self) -> SearchResult:
        """Train what the server says."""
        run_agent(self._id, self._train, self._entity, self._project, self._search.n_trials)
        if self._error is not None:
            raise self._error
        searched = f"that this process has trained of the sweep {self._id!r}"
        complete = complete_trials(self._records, searched, otherwise="the server")
        best = best_trial(complete, self._search.directions[0])
        result = SearchResult(self._name, self._records, [best], summary=self._id)
        self._search.report(result)
        return result

    def _train(self) -> None:
        """Train a trial; called by the agent, on a thread of its own, once for each."""
        run = open_run_of_sweep(self._entity, self._project, self._name)
        params = dict(run.config)
        try:
            self._search.check_params(params)
            if self._search.hp_name is not None:
                run.name = self._search.name_trial(params, run.id)
            self._records.append(self._train_trial(run, params))
        except SettingError as error:
            self._error = error
            raise

    def _train_trial(self, run: Any, params: Mapping[str, Any]) -> TrialRecord:
        directory = pathlib.Path(self._search.args.output_dir, trial_directory_name(run.id))
        heard: list[TrialEvaluation] = []

        def hear(evaluation: TrialEvaluation) -> None:
            heard.append(evaluation)
            log_in_open_run({STEP: evaluation.step, **objective_names(evaluation.objective)})

        facts: dict[str, Any] = {"number": run.id, "name": run.name, "params": params, "run": {"id": run.id}}
        trial = SearchTrial(
            number=run.id,
            name=run.name,
            given=dict(params),
            params=params,
            directory=str(directory),
            group=self._name,
            hear=hear,
        )
        try:
            outcome = self._search.run_trial(trial)
            return TrialRecord(**facts, state=TrialState.COMPLETE, objective=outcome.objective, step=outcome.step)
        except SettingError:
            raise
        except Exception as error:
            if heard:
                facts |= {"objective": heard[-1].objective, "step": heard[-1].step}
            if is_from_agent(error):
                run.finish()
                mark_ended_run(run, TrialState.PRUNED.value, {"trial/state": TrialState.PRUNED.value})
                return TrialRecord(**facts, state=TrialState.PRUNED)
            run.finish(exit_code=1)
            text = f"{type(error).__name__}: {first_line(error)}"
            _logger.warning("The trial %s has failed (%s). The search continues.", run.name, text)
            return TrialRecord(**facts, state=TrialState.FAILED, error=text)


def _check_reports(search: Search) -> None:
    settings = Settings.resolve()
    if "wandb" not in (search.args.report_to or ()):
        raise SettingError(
            "report_to", search.args.report_to, expected="'wandb' among them, as the trials of a sweep are W&B runs"
        )
    if settings.disabled or settings.mode not in (None, "online"):
        raise SettingError(
            "WANDB_MODE",
            "disabled" if settings.disabled else settings.mode,
            expected="online, as the W&B server chooses the trials of a sweep",
            advice="Search with backend='optuna', which needs no server.",
        )
    if len(search.directions) > 1:
        raise SettingError("direction", list(search.directions), expected="one, as a sweep has a single metric")


def _sweep_config(config: Any) -> Mapping[str, Any]:
    """The configuration of a sweep, as ``hp_space`` gives it."""
    if isinstance(config, Mapping) and isinstance(config.get("parameters"), Mapping) and "method" in config:
        return config
    raise SettingError(
        "hp_space",
        config,
        expected="a function of None that returns the configuration of a sweep, with method and parameters",
        advice='Write return {"method": "bayes", "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-4}}}.',
    )


def _examples(parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Values of each parameter that a trial may have: all that are listed, or both ends of a range."""
    for name, parameter in parameters.items():
        for value in parameter.get("values", [parameter[key] for key in ("value", "min", "max") if key in parameter]):
            yield {name: value}
