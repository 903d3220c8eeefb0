"""What a search has found: in words, and in a W&B run of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.messages import inform
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
from tf_hfwb.tracking.run_charts import bar_chart, html_page
from tf_hfwb.tracking.run_tables import new_table
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.search.parallel_coordinates import Axis, draw
from tf_hfwb.trainer.search.search_trial import SearchResult, TrialRecord, TrialState, objective_names

TRIALS, IMPORTANCE, COORDINATES = "search/trials", "search/importance", "search/parallel_coordinates"


def report_search(args: TFTrainingArguments, directions: Sequence[str], result: SearchResult) -> Mapping[str, str]:
    """Say what was found, and log it as ``args.report_to`` says.

    The run has the name of the search and is in the group of its trials. A run of the user's that is open gets it
    instead.

    Args:
        args: The trainer's arguments.
        directions: ``"minimize"`` or ``"maximize"``, for each objective.
        result: What was found.

    Returns:
        What finds the run; empty without one.
    """
    inform("%s", summary_text(result))
    if "wandb" not in (args.report_to or ()):
        return {}
    columns, rows = trial_rows(result, len(directions))
    tracker = open_tracker(
        Settings.resolve(group=result.name),
        name=result.name,
        config={"search/directions": list(directions), "search/trials": len(result.trials)},
        run_id=result.run.get("id"),
        entity=result.run.get("entity"),
        may_repeat=False,
    )
    if not tracker.active:
        return {}

    def log() -> None:
        table = new_table(columns, allow_mixed_types=True)
        for row in rows:
            table.add_data(*row)
        media = {TRIALS: table}
        if result.importance:
            media[IMPORTANCE] = bar_chart(result.importance, "hyperparameter", "importance", "Importance")
        picture = draw(_axes(result, len(directions)), _best_lines(result))
        if picture:
            media[COORDINATES] = html_page(picture)
        tracker.log(media, kept=())
        tracker.summarize(_best_summary(result))

    tracker.submit(log)
    identity = tracker.identity
    tracker.flush_rows()
    tracker.finish()
    return identity


def summary_text(result: SearchResult) -> str:
    """The numbers of trials by their state, the best one, and what has ended those that failed."""
    counts = Counter(trial.state for trial in result.trials)
    states = ", ".join(f"{counts[state]} {state.value}" for state in TrialState if counts[state])
    lines = [f"The search {result.name!r} has ended: {len(result.trials)} trials, {states}."]
    for trial in result.best:
        found = ", ".join(f"{name} {value:.6g}" for name, value in objective_names(trial.objective).items())
        lines.append(f"  best: {trial.name}: {found} with {_params_in_words(trial.params)}")
    for trial in result.trials:
        if trial.state is TrialState.FAILED:
            lines.append(f"  failed: {trial.name}: {trial.error}")
    return "\n".join(lines)


def _params_in_words(params: Mapping[str, Any]) -> str:
    words = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items())
    return ", ".join(words)


def trial_rows(result: SearchResult, num_objectives: int) -> tuple[list[str], list[list[Any]]]:
    """The columns and the rows of the table of trials; what a trial does not have is None."""
    objectives = list(objective_names([0.0] * num_objectives))
    params = _param_names(result)
    best = {trial.number for trial in result.best}
    has_lineage = any(trial.lineage for trial in result.trials)
    columns = ["trial", "name", "state", "best", *objectives, *params, "step", "run", "error"]
    columns += ["lineage"] if has_lineage else []
    rows = []
    for trial in result.trials:
        values: list[Any] = list(trial.objective) or [None] * num_objectives
        found = [trial.params.get(name) for name in params]
        head = [trial.number, trial.name, trial.state.value, trial.number in best]
        tail = [trial.step, trial.run.get("id"), trial.error or None, *([trial.lineage] if has_lineage else [])]
        rows.append([*head, *values, *found, *tail])
    return columns, rows


def _param_names(result: SearchResult) -> list[str]:
    return list(dict.fromkeys(name for trial in result.trials for name in trial.params))


def _shown(result: SearchResult) -> list[TrialRecord]:
    """The trials that have an objective."""
    return [trial for trial in result.trials if trial.objective]


def _axes(result: SearchResult, num_objectives: int) -> list[Axis]:
    shown = _shown(result)
    axes = [Axis(name, [trial.params.get(name) for trial in shown]) for name in _param_names(result)]
    names = objective_names([0.0] * num_objectives)
    return [*axes, *(Axis(name, [trial.objective[i] for trial in shown]) for i, name in enumerate(names))]


def _best_lines(result: SearchResult) -> list[int]:
    best = {trial.number for trial in result.best}
    return [line for line, trial in enumerate(_shown(result)) if trial.number in best]


def _best_summary(result: SearchResult) -> dict[str, Any]:
    """The best trial; of several that no other one beats, the first."""
    if not result.best:
        return {}
    best = result.best[0]
    facts = {"trial": best.number, "name": best.name, "run": best.run.get("id"), **objective_names(best.objective)}
    return {f"best/{name}": value for name, value in {**facts, **best.params}.items() if value is not None}
