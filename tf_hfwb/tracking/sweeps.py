"""Sweeps: searches of which the W&B server chooses the trials, each of which is a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.messages import first_line

_logger = logging.getLogger("tf_hfwb")


def begin_sweep(config: Mapping[str, Any], entity: str | None, project: str) -> str:
    """Begin a sweep, and return its id."""
    import wandb

    found: str = wandb.sweep(dict(config), entity=entity, project=project)
    return found


def run_agent(sweep: str, train: Callable[[], None], entity: str | None, project: str, count: int) -> None:
    """Call a function for each run of a sweep, on a thread, until there are no more or it raises an exception.

    Args:
        sweep: The id of the sweep.
        train: Opens the run and trains.
        entity: The user or team.
        project: The project.
        count: How many runs at most.
    """
    import wandb

    wandb.agent(sweep, function=train, entity=entity, project=project, count=count, max_consecutive_failed_runs=1)


def open_run_of_sweep(entity: str | None, project: str, group: str) -> Any:
    """The run that the agent is asked for; its config has the hyperparameters."""
    import wandb

    return wandb.init(entity=entity, project=project, group=group)


def is_from_agent(error: Exception) -> bool:
    """Whether it is the exception that the agent raises in a run that the server wants to end."""
    return type(error) is Exception and not error.args


def mark_ended_run(run: Any, tag: str, summary: Mapping[str, Any]) -> None:
    """Add a tag and values of the summary to a run that has ended, on the server."""
    import wandb

    try:
        there: Any = wandb.Api().run(run.path)
        there.tags = [*there.tags, tag]
        for name, value in summary.items():
            there.summary[name] = value
        there.update()
    except Exception as error:
        _logger.warning("The W&B run %s is not marked as %s (%s).", run.name, tag, first_line(error))
