"""One trial of a search: what a backend hands to the trainer, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tf_hfwb.errors import SearchError, TFHFWBError


class TrialState(str, Enum):
    """How far a trial is."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    __str__ = str.__str__  # As in enum.StrEnum, which Python 3.10 lacks.


class TrialStoppedError(TFHFWBError):
    """Ends the training of a trial; raised by whoever hears of its evaluations.

    Args:
        text: Why.
        objective: The values of the last evaluation.
        state: Whether the trial is pruned, or paused: it may continue later, perhaps from another trial's checkpoint.
    """

    def __init__(self, text: str, objective: Sequence[float], state: TrialState = TrialState.PRUNED) -> None:
        super().__init__(text)
        self.objective, self.state = tuple(objective), state


@dataclass(frozen=True)
class TrialEvaluation:
    """An evaluation within the training of a trial.

    Attributes:
        step: The global step.
        metrics: What ``evaluate`` returned.
        objective: The values of the objectives.
        run: What finds the trial's W&B run; empty without one.
    """

    step: int
    metrics: Mapping[str, Any]
    objective: tuple[float, ...]
    run: Mapping[str, str]


@dataclass(frozen=True)
class SearchTrial:
    """A trial that is to be trained.

    Attributes:
        number: What tells it from the others of the search, and names its directory.
        name: The name of its W&B run.
        given: What ``model_init`` gets, and callbacks find: the backend's own object for a trial.
        params: The hyperparameters by their names.
        directory: Where it saves its checkpoints.
        group: The group of its W&B run.
        checkpoint: The checkpoint that it resumes from; None for a start from the first step.
        objective: The values of the last evaluation before that checkpoint; None without one.
        hear: Called after each evaluation within the training; raises :class:`TrialStoppedError` to end it.
        run_id: Which W&B run it has; None for a new one, or that of the checkpoint.
    """

    number: str
    name: str
    given: Any
    params: Mapping[str, Any]
    directory: str
    group: str
    checkpoint: str | None = None
    objective: tuple[float, ...] | None = None
    hear: Callable[[TrialEvaluation], None] = lambda evaluation: None
    run_id: str | None = None


@dataclass(frozen=True)
class TrialOutcome:
    """What the training of a trial has come to.

    Attributes:
        objective: The values of the objectives, of the last evaluation.
        step: The global step that it has reached.
        run: What finds its W&B run: ``id``, ``project``, ``entity`` and ``name``; empty without one.
    """

    objective: tuple[float, ...]
    step: int
    run: Mapping[str, str]


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the search remembers it.

    Attributes:
        number: As in :class:`SearchTrial`.
        name: Likewise.
        params: Likewise.
        state: How far it is.
        objective: The values of the objectives; of a pruned trial those of its last evaluation, if it had any.
        step: The global step that it has reached, as far as that is known.
        run: As in :class:`TrialOutcome`.
        error: What has ended a failed trial; empty for the others.
        lineage: Which trials of a population it was copied from, and at which steps; empty without any.
    """

    number: str
    name: str
    params: Mapping[str, Any]
    state: TrialState
    objective: tuple[float, ...] = ()
    step: int | None = None
    run: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    lineage: str = ""


@dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Attributes:
        name: The name of the search, which is the group of its W&B runs.
        trials: All trials.
        best: The best of them; with several objectives all that no other one beats in each of them.
        importance: How much each hyperparameter matters for the first objective, as shares of 1; empty where that
            is not known.
        run: What finds the search's own W&B run of an earlier process; empty without one.
        summary: What the backend adds, for ``BestRun.run_summary``.
    """

    name: str
    trials: Sequence[TrialRecord]
    best: Sequence[TrialRecord]
    importance: Mapping[str, float] = field(default_factory=dict)
    run: Mapping[str, str] = field(default_factory=dict)
    summary: Any = None


def complete_trials(trials: Sequence[TrialRecord], searched: str, otherwise: str) -> list[TrialRecord]:
    """The trials that are complete.

    Args:
        trials: Those of a search.
        searched: What they are trials of, as the error says it.
        otherwise: What has ended them where none has failed.

    Raises:
        SearchError: There is none.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        errors = dict.fromkeys(trial.error for trial in trials if trial.error)
        raise SearchError(
            f"None of the {len(trials)} trials {searched} is complete. Expected one at least. What ended them: "
            f"{'; '.join(errors) or otherwise}."
        )
    return complete


def best_trial(trials: Sequence[TrialRecord], direction: str) -> TrialRecord:
    """The one with the best objective, of which there is one for each."""
    sign = 1 if direction == "minimize" else -1
    return min(trials, key=lambda trial: sign * trial.objective[0])


def objective_names(objective: Sequence[float]) -> dict[str, float]:
    """The objectives by the names that runs and tables have for them.

    Example:
        >>> objective_names([0.5]), objective_names([0.5, 0.9])
        ({'objective': 0.5}, {'objective_0': 0.5, 'objective_1': 0.9})
    """
    if len(objective) == 1:
        return {"objective": objective[0]}
    return {f"objective_{number}": value for number, value in enumerate(objective)}
