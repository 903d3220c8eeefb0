"""The private names of optuna that are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.samplers import BaseSampler, GridSampler
from optuna.samplers._lazy_random_state import LazyRandomState


def random_states(sampler: BaseSampler) -> Iterator[Any]:
    """The random generators of a sampler and of those that it uses, in a fixed order."""
    for _, value in sorted(vars(sampler).items()):
        if isinstance(value, LazyRandomState):
            yield value.rng
        elif isinstance(value, BaseSampler):
            yield from random_states(value)


def number_of_points(sampler: GridSampler) -> int:
    """The points of a grid."""
    return len(sampler._all_grids)
