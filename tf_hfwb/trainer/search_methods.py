"""The method of a trainer that searches hyperparameters, and the training of one trial."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.metric_values import flat_numbers
from tf_hfwb.trainer.evaluation_methods import EvaluationPoints
from tf_hfwb.trainer.extension_points import number_of_arguments
from tf_hfwb.trainer.search.backend_choice import choose_backend
from tf_hfwb.trainer.search.freed_memory import return_freed_memory
from tf_hfwb.trainer.search.objective_values import objective_values, parse_directions
from tf_hfwb.trainer.search.search_backend import Search
from tf_hfwb.trainer.search.search_report import report_search
from tf_hfwb.trainer.search.search_trial import (
    SearchResult,
    SearchTrial,
    TrialEvaluation,
    TrialOutcome,
    TrialRecord,
    TrialState,
    TrialStoppedError,
)
from tf_hfwb.trainer.search.trial_parameters import arguments_of_trial, check_params, params_of, set_arguments
from tf_hfwb.trainer.trainer_reporting import RunOfTrial
from tf_hfwb.validation.argument_checks import check_whole_number

if TYPE_CHECKING:
    from transformers.trainer_utils import BestRun, TrainOutput


class SearchMethods(EvaluationPoints):
    """How a trainer searches hyperparameters.

    Attributes:
        objective: The objective of the trial that is under way, or of the last one: a number, or a list of them. None
            before its first evaluation.
        compute_objective: From metrics to the values of the objectives of the search, or of the last one.
        hp_space: That of the search, or of the last one; None before one, and for the backend's own.
    """

    objective: float | list[float] | None = None
    hp_space: Callable[[Any], Any] | None = None
    compute_objective: Callable[[Mapping[str, Any]], list[float]]

    if TYPE_CHECKING:

        def add_callback(self, callback: Any) -> None:
            """That of the trainer."""

        def train(self, resume_from_checkpoint: str | bool | None = None, trial: Any = None) -> TrainOutput:
            """That of the trainer."""

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], Any] | None = None,
        compute_objective: Callable[[dict[str, float]], float | Sequence[float]] | None = None,
        n_trials: int = 20,
        direction: str | Sequence[str] = "minimize",
        backend: Any = None,
        hp_name: Callable[[Any], str] | None = None,
        **kwargs: Any,
    ) -> BestRun | list[BestRun]:
        """Train a model of ``model_init`` with one set of hyperparameters after the other, and tell the best.

        The search is kept in ``args.output_dir``. The same call again, in this process or in another one, trains what
        is left, and a trial that was interrupted continues from its checkpoint. Several processes share the trials.

        Args:
            hp_space: From the backend's trial to hyperparameters by the names of training arguments, or by other ones
                that ``model_init(trial)`` uses. None: transformers' default for the backend.
            compute_objective: From the metrics of ``evaluate`` to the objective, or to one for each direction. None:
                the loss where there is no other metric, else the sum of the others.
            n_trials: How many trials there are to be in all, those of earlier calls and those that failed included.
            direction: ``"minimize"`` or ``"maximize"``; a list for several objectives.
            backend: ``"optuna"``, ``"ray"`` or ``"wandb"``; None for the first that is installed.
            hp_name: From the backend's trial to the name of its W&B run. None: ``run-{number}``.
            **kwargs: For the backend. optuna: ``storage``, ``study_name``, ``load_if_exists``, ``sampler``,
                ``pruner``, ``timeout`` in seconds, ``catch`` and ``gc_after_trial``.

        The objective is that of the last evaluation within the training, or of one after it where there is none.
        Afterwards ``args`` are as they were, and ``model`` is that of the last trial: ``train`` makes a new one.

        Returns:
            ``run_id``, ``objective`` and ``hyperparameters`` of the best trial, whose checkpoints are in
            ``run-{run_id}``; with a list of directions all trials that no other one beats in each of them.

        Raises:
            SettingError: There is no ``model_init``, the backend is not installed, or an argument cannot be used.
            SearchError: All trials have failed or were pruned.

        Example:
            >>> import tempfile, numpy as np, keras
            >>> from tf_hfwb import TFTrainer, TFTrainingArguments
            >>> def make():
            ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            ...     model.compile(loss="mse")
            ...     return model
            >>> data = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     args = TFTrainingArguments(directory, max_steps=2, report_to="none", disable_tqdm=True)
            ...     trainer = TFTrainer(args=args, model_init=make, train_dataset=data, eval_dataset=data)
            ...     best = trainer.hyperparameter_search(
            ...         lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-1)}, n_trials=2
            ...     )
            >>> sorted(best.hyperparameters)
            ['learning_rate']

        Follows ``Trainer.hyperparameter_search`` of transformers.
        """
        if self.model_init is None:
            raise SettingError("model_init", None, expected="a function that makes the model of each trial")
        if self._host.is_multi_worker:
            raise SettingError(
                "hyperparameter_search",
                "TF_CONFIG",
                expected="one machine, as the workers would try different hyperparameters",
                advice="Unset TF_CONFIG. Processes with the same output_dir share the trials of a search.",
            )
        directions = parse_directions(direction)
        chosen = choose_backend(backend)
        self.hp_space = hp_space
        self.compute_objective = _objective(compute_objective, len(directions))
        search = Search(
            args=self.args,
            hp_space=hp_space,
            n_trials=check_whole_number("n_trials", n_trials, minimum=1, expected="a number of trials, 1 or more"),
            directions=directions,
            has_many_objectives=not isinstance(direction, str),
            hp_name=hp_name,
            options=kwargs,
            run_trial=self._run_trial,
            add_callback=self.add_callback,
            takes_trial=self._takes_trial,
            check_params=lambda params: check_params(self.args, params, takes_trial=self._takes_trial),
            report=lambda result: report_search(self.args, directions, result),
        )
        result = chosen.run(search)
        best = [_best_run(record, search, result) for record in result.best]
        return best if search.has_many_objectives else best[0]

    @property
    def _takes_trial(self) -> bool:
        return self.model_init is not None and number_of_arguments(self.model_init) > 0

    @contextlib.contextmanager
    def _take_trial(self, trial: Any) -> Iterator[None]:
        """Give a training the hyperparameters of a trial, which ``args`` keep; that of a search has them already."""
        if trial is None or trial is self._trial:
            yield
            return
        params = params_of(trial, self.hp_space, takes_trial=self._takes_trial)
        check_params(self.args, params, takes_trial=self._takes_trial, source="trial")
        set_arguments(self.args, params)
        self._begin_trial(trial, None, params, RunOfTrial(None, params))
        try:
            yield
        finally:
            self._forget_trial()

    def _begin_trial(self, given: Any, name: str | None, params: Mapping[str, Any], run: RunOfTrial) -> None:
        self._trial, self._run_of_trial = given, run
        self._events.trial_state = {
            "is_hyper_param_search": True,
            "trial_name": name,
            "trial_params": dict(params),
        }

    def _forget_trial(self) -> None:
        self._trial = self._run_of_trial = None
        self._events.trial_state = {}

    def _run_trial(self, trial: SearchTrial) -> TrialOutcome:
        """Train a trial; afterwards the arguments are as they were, and its model is forgotten."""
        run = RunOfTrial(trial.group, trial.params, trial.run_id)
        self._begin_trial(trial.given, trial.name, trial.params, run)
        self._hear_evaluation = lambda step, metrics: self._hear(trial, step, metrics)
        self.objective = None if trial.objective is None else _plain(trial.objective)
        try:
            with arguments_of_trial(self.args, trial.params, output_dir=trial.directory, run_name=trial.name):
                # False: each trial has a run of its own.
                source = False if trial.checkpoint is None else trial.checkpoint
                self.train(resume_from_checkpoint=source, trial=trial.given)
                if self.objective is None:
                    metrics = self.evaluate()
                    self.objective = _plain(self.compute_objective(metrics))
                objective = _values(self.objective)
                identity = self._reporting.end_trial(TrialState.COMPLETE, objective)
                return TrialOutcome(objective, self._events.state.global_step, identity)
        except TrialStoppedError:
            self._events.call("on_train_end")  # As transformers does.
            raise
        finally:
            self._hear_evaluation = None
            self._forget_trial()
            return_freed_memory()

    def _hear(self, trial: SearchTrial, step: int, metrics: Mapping[str, Any]) -> None:
        """An evaluation within the training of a trial has ended."""
        objective = self.compute_objective(metrics)
        self.objective = _plain(objective)
        trial.hear(TrialEvaluation(step, metrics, tuple(objective), self._reporting.identity))


def _objective(compute: Callable[..., Any] | None, number: int) -> Callable[[Mapping[str, Any]], list[float]]:
    """From metrics to the values of the objectives, by the user's function or transformers' default."""
    if compute is None:
        from transformers.trainer_utils import default_compute_objective

        # It adds up all metrics, of which some may be nested.
        return lambda metrics: objective_values(default_compute_objective, flat_numbers(metrics), number)
    function = compute
    return lambda metrics: objective_values(function, metrics, number)


def _plain(values: Sequence[float]) -> float | list[float]:
    """One objective as a number, several as a list, as scripts know them."""
    return values[0] if len(values) == 1 else list(values)


def _values(objective: float | list[float]) -> tuple[float, ...]:
    return tuple(objective) if isinstance(objective, list) else (objective,)


def _best_run(record: TrialRecord, search: Search, result: SearchResult) -> BestRun:
    from transformers.trainer_utils import BestRun

    objective = list(record.objective) if search.has_many_objectives else record.objective[0]
    return BestRun(record.number, objective, dict(record.params), result.summary)
