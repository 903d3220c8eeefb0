"""The same seed gives the same trials, in however many processes they are tried."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tf_hfwb.trainer.search.optuna_private import forget_fits, random_states

# What stands for the seed of each sampler: its generators are seeded anew for each trial, and no longer tell.
_bases: weakref.WeakKeyDictionary[optuna.samplers.BaseSampler, list[int]] = weakref.WeakKeyDictionary()


class RepeatableSampler(optuna.samplers.BaseSampler):
    """A sampler whose random numbers depend on its seed, the trial and the hyperparameter, and on nothing else.

    optuna's samplers draw from one sequence of numbers. A process that continues a search would begin that sequence
    anew, and try again what was tried first.

    Args:
        sampler: The sampler. One without a seed draws other numbers in each process.
    """

    def __init__(self, sampler: optuna.samplers.BaseSampler) -> None:
        self._sampler = sampler
        self._states = list(random_states(sampler))
        if sampler not in _bases:
            _bases[sampler] = [int(state.randint(2**31)) for state in self._states]
        self._base = _bases[sampler]

    def _seed(self, trial: FrozenTrial, name: str = "") -> None:
        for number, (state, base) in enumerate(zip(self._states, self._base, strict=True)):
            text = f"{number}/{base}/{trial.number}/{name}"
            state.seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))

    def __str__(self) -> str:
        return str(self._sampler)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does, with numbers of this trial."""
        self._seed(trial)
        forget_fits(self._sampler)
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does, with numbers of this trial and hyperparameter."""
        self._seed(trial, param_name)
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the sampler does, with numbers of this trial."""
        self._seed(trial, "before")
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the sampler does, with numbers of this trial."""
        self._seed(trial, "after")
        self._sampler.after_trial(study, trial, state, values)
