"""What a population of Ray Tune needs besides its scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from tf_hfwb.trainer.search.ray_private import end_waiting


class EndOfWaiting(tune.Callback):
    """Lets the members of a synchronous population train on, when all of them wait: one of them may have ended.

    Args:
        scheduler: That of the population.
    """

    def __init__(self, scheduler: PopulationBasedTraining) -> None:
        self._scheduler = scheduler

    def on_step_end(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """Ray has looked at what its processes have sent."""
        end_waiting(self._scheduler, [trial for trial in trials if not trial.is_finished()])
