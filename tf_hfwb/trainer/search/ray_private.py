"""The private names of Ray that are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import PopulationBasedTraining


def end_waiting(scheduler: PopulationBasedTraining, members: Sequence[Any]) -> None:
    """Let the members of a synchronous population train on, if all of them wait.

    Ray looks only when a member reports. Those that wait do not, so that the search would never end.

    Args:
        scheduler: That of the population.
        members: Its trials that have not ended.
    """
    times = [scheduler._trial_state[member].last_train_time for member in members]
    if scheduler._synch and times and min(times) >= scheduler._next_perturbation_sync:
        scheduler._next_perturbation_sync = max(times) + scheduler._perturbation_interval
