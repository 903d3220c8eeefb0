"""The backend ray: trials in parallel, on one machine or on a cluster, and populations that copy checkpoints."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, HyperBandScheduler, PopulationBasedTraining
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.sample import Domain
from transformers.trainer_utils import default_hp_space_ray

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import count_gpus
from tf_hfwb.messages import first_line, inform
from tf_hfwb.trainer.search.ray_population import EndOfWaiting
from tf_hfwb.trainer.search.ray_trial import RayTask, RayTrial
from tf_hfwb.trainer.search.search_backend import Search, SearchBackend, trial_directory_name
from tf_hfwb.trainer.search.search_trial import SearchResult, TrialRecord, TrialState, best_trial, complete_trials

_OPTIONS = (
    *("resources_per_trial", "scheduler", "search_alg", "max_concurrent_trials", "max_failures", "time_budget_s"),
    *("name", "storage_path", "verbose"),
)
_SCOPES = ("last", "all", "avg", "last-5-avg", "last-10-avg")
_PREFIXES = ("WANDB_", "KERAS_", "TF_", "HF_", "TRANSFORMERS_")
_SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
# How often Ray starts the process of a trial again: it may have been killed for memory, or its machine has gone.
_MAX_FAILURES = 3


class RayBackend(SearchBackend):
    """Ray Tune's schedulers and search algorithms.

    Follows ``run_hp_search_ray`` of transformers.
    """

    def run(self, search: Search) -> SearchResult:
        """Search until all trials have ended."""
        search.refuse_unknown_options(*_OPTIONS)
        return _RaySearch(search).run()


class _RaySearch:
    """A search while it runs."""

    def __init__(self, search: Search) -> None:
        self._search, self._options = search, search.options
        if len(search.directions) > 1:
            raise SettingError("direction", list(search.directions), expected="one, as Ray's schedulers compare by one")
        args = search.args
        if args.ray_scope not in _SCOPES:
            raise SettingError("ray_scope", args.ray_scope, accepted=list(_SCOPES))
        self._scheduler = self._options.get("scheduler") or FIFOScheduler()  # type: ignore[no-untyped-call]
        self._pauses = isinstance(self._scheduler, (PopulationBasedTraining, HyperBandScheduler))
        self._check_scheduler()
        self._space = (search.hp_space or _default_space)(None)
        self._check_space()
        self._resources = dict(self._options.get("resources_per_trial") or _default_resources())
        self._mode = "min" if search.directions[0] == "minimize" else "max"
        self._name = str(self._options.get("name") or search.default_name)
        self._pickled = _pickled(search)

    def _check_scheduler(self) -> None:
        # All others compare trials while they train, also those that Ray derives from this one.
        if type(self._scheduler) is not FIFOScheduler and self._search.args.eval_strategy == "no":
            raise SettingError(
                "eval_strategy",
                "no",
                expected=f"evaluations within the training, by which {type(self._scheduler).__name__} compares trials",
                advice="Set eval_strategy='epoch', or 'steps' with eval_steps.",
            )
        if self._pauses and self._search.args.save_only_model:
            raise SettingError(
                "save_only_model",
                True,
                expected=f"False, as with {type(self._scheduler).__name__} trials continue from checkpoints",
                advice="Leave it out, or use another scheduler.",
            )

    def _check_space(self) -> None:
        if not isinstance(self._space, Mapping):
            raise SettingError(
                "hp_space",
                self._space,
                expected="a function of None that returns a dict of hyperparameters by name",
                advice='Write return {"learning_rate": tune.loguniform(1e-6, 1e-4)}.',
            )
        for params in _examples(self._space):
            self._search.check_params(params)

    def run(self) -> SearchResult:
        """Train the trials."""
        began = not ray.is_initialized()
        if began:
            ray.init(include_dashboard=False, log_to_driver=False)
        os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # A trial may fail before it has any.
        try:
            grid: Any = self._tuner().fit()
        finally:
            if began:
                ray.shutdown()
        if any(_is_left(result) for result in grid) and self._options.get("time_budget_s") is None:
            raise KeyboardInterrupt  # Ray has noted it, and returns.
        records = [_record(result) for result in grid]
        complete = complete_trials(records, f"of the search {self._name!r}", otherwise="Ray")
        best = self._best(grid, complete)
        result = SearchResult(self._name, records, [best], summary=grid)
        self._search.report(result)
        return result

    def _tuner(self) -> tune.Tuner:
        """A new search, or the rest of one that was interrupted."""
        search = self._search
        saves = search.args.save_strategy != "no" and not search.args.save_only_model
        task = RayTask(
            search=self._pickled,
            directory=os.getcwd(),
            environment=_shared_environment(os.environ),
            threads=max(1, math.ceil(self._resources.get("cpu", 1))),
            group=self._name,
            saves=self._pauses or saves,
            state_when_stopped=TrialState.PAUSED if self._pauses else TrialState.PRUNED,
        )
        trainable = tune.with_resources(tune.with_parameters(RayTrial, task=task), self._resources)
        folder = pathlib.Path(search.args.output_dir, "ray").absolute()
        storage = str(self._options.get("storage_path") or folder)
        facts = folder / f"{self._name}.json"
        place = f"{storage}/{self._name}"
        if facts.exists() and _has_state(place):
            self._check_same(json.loads(facts.read_text()))
            inform("The search %r continues. For a new one pass another name or output_dir.", self._name)
            return tune.Tuner.restore(place, trainable, param_space=dict(self._space))
        folder.mkdir(parents=True, exist_ok=True)
        tuner = self._new_tuner(trainable, storage, saves=task.saves)
        facts.write_text(json.dumps(self._facts))
        return tuner

    @property
    def _facts(self) -> dict[str, Any]:
        """What may not be another one when a search continues."""
        return {
            "n_trials": self._search.n_trials,
            "direction": self._search.directions[0],
            "hp_space": sorted(self._space),
            "scheduler": type(self._scheduler).__name__,
        }

    def _check_same(self, begun: Mapping[str, Any]) -> None:
        for name, value in self._facts.items():
            if begun.get(name) != value:
                raise SettingError(
                    name,
                    value,
                    expected=f"{begun.get(name)!r}, with which the search {self._name!r} was begun",
                    advice="Pass another name or output_dir for a new search.",
                )

    def _new_tuner(self, trainable: Any, storage: str, *, saves: bool) -> tune.Tuner:
        search, options, scheduler = self._search, self._options, self._scheduler
        search_alg, concurrent = options.get("search_alg"), options.get("max_concurrent_trials")
        if search_alg is None:  # This one knows its own limit, and Ray ignores the other.
            search_alg = BasicVariantGenerator(random_state=search.args.seed, max_concurrent=concurrent or 0)
            concurrent = None
        callbacks: list[tune.Callback] | None
        callbacks = [EndOfWaiting(scheduler)] if isinstance(scheduler, PopulationBasedTraining) else None
        return tune.Tuner(
            trainable,
            param_space=dict(self._space),
            tune_config=tune.TuneConfig(
                metric="objective",
                mode=self._mode,
                num_samples=search.n_trials,
                scheduler=scheduler,
                search_alg=search_alg,
                max_concurrent_trials=concurrent,
                time_budget_s=options.get("time_budget_s"),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=self._name,
                storage_path=storage,
                verbose=options.get("verbose", 1),
                callbacks=callbacks,
                failure_config=tune.FailureConfig(max_failures=options.get("max_failures", _MAX_FAILURES)),
                checkpoint_config=tune.CheckpointConfig(
                    num_to_keep=4 if saves else None,
                    checkpoint_frequency=1 if saves else 0,
                    checkpoint_at_end=False,
                ),
            ),
        )

    def _best(self, grid: Any, complete: list[TrialRecord]) -> TrialRecord:
        """By ``ray_scope``, among those that are complete."""
        found = grid.get_best_result("objective", self._mode, scope=self._search.args.ray_scope)
        number = found.metrics["trial_id"]
        best = next((record for record in complete if record.number == number), None)
        return best or best_trial(complete, self._search.directions[0])


def _pickled(search: Search) -> bytes:
    """The search with its trainer, for other processes."""
    try:
        found: bytes = ray.cloudpickle.dumps(search)  # type: ignore[no-untyped-call]
    except Exception as error:  # Of the user's objects, in any way.
        raise SettingError(
            "backend",
            "ray",
            expected="a trainer of what can be pickled, as its trials train in other processes "
            f"({type(error).__name__}: {first_line(error)})",
            advice="Create what cannot be pickled, such as a tf.data.Dataset or a model, in model_init, or pass arrays "
            "or a datasets.Dataset. backend='optuna' trains in this process.",
        ) from error
    return found


def _default_space(trial: Any) -> dict[str, Any]:
    """transformers' space, with seeds that are whole numbers: there they are drawn as fractions, and cut."""
    return {**default_hp_space_ray(trial), "seed": tune.randint(1, 41)}


def _default_resources() -> dict[str, float]:
    return {"cpu": 1, "gpu": 1} if count_gpus() else {"cpu": 1}


def _examples(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Values of each hyperparameter that a trial may have."""
    for name, values in space.items():
        if isinstance(values, Domain):
            yield {name: values.sample()}
        elif isinstance(values, Mapping) and "grid_search" in values:
            yield from ({name: value} for value in values["grid_search"])
        else:
            yield {name: values}


def _shared_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that decide how libraries work, without secrets: Ray keeps what it hands over."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_PREFIXES) and not any(word in name for word in _SECRETS)
    }


def _has_state(place: str) -> bool:
    """Whether Ray has written how far a search is; a new one would be of one trial otherwise."""
    try:
        return bool(tune.ExperimentAnalysis(place).trials)
    except Exception:  # In many ways, by the version and by what is missing.
        return False


def _is_left(result: Any) -> bool:
    """Whether the trial has neither ended nor failed."""
    return not result.error and not (result.metrics or {}).get("done")


def _record(result: Any) -> TrialRecord:
    """A trial, of what it has reported last."""
    metrics = result.metrics or {}
    state = TrialState.FAILED if result.error else TrialState(metrics.get("state", TrialState.PRUNED))
    if state is TrialState.PAUSED:
        state = TrialState.PRUNED
    number = metrics.get("trial_id", "")
    error = first_line(result.error) if result.error else metrics.get("error", "")
    return TrialRecord(
        number=number,
        name=metrics.get("name", trial_directory_name(number)),
        params=result.config or {},
        state=state,
        objective=(metrics["objective"],) if "objective" in metrics else (),
        step=metrics.get("step"),
        run=metrics.get("run", {}),
        error=error,
        lineage=metrics.get("lineage", ""),
    )
