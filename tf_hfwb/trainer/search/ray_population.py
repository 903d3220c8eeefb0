"""What a population of Ray Tune needs besides its scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from tf_hfwb.trainer.search.ray_private import end_waiting


class EndOfWaiting(tune.Callback):
    """Lets the members of a synchronous population train on, when the last one that they wait for has ended.

    Args:
        scheduler: That of the population.
    """

    def __init__(self, scheduler: PopulationBasedTraining) -> None:
        self._scheduler = scheduler

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """A member has ended."""
        end_waiting(self._scheduler, [other for other in trials if other is not trial and not other.is_finished()])

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """The process of a member was killed too often."""
        self.on_trial_complete(iteration, trials, trial)
