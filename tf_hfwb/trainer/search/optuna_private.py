"""The private names of optuna that are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.samplers import BaseSampler, GPSampler, GridSampler
from optuna.samplers._lazy_random_state import LazyRandomState


def random_states(sampler: BaseSampler) -> Iterator[Any]:
    """The random generators of a sampler and of those that it uses, in a fixed order."""
    for _, value in sorted(vars(sampler).items()):
        if isinstance(value, LazyRandomState):
            yield value.rng
        elif isinstance(value, BaseSampler):
            yield from random_states(value)


def forget_fits(sampler: BaseSampler) -> None:
    """Let Gaussian processes be fitted from the same beginning, and not from what this process has fitted last."""
    for name, value in vars(sampler).items():
        if isinstance(sampler, GPSampler) and name.endswith("_cache_list"):
            setattr(sampler, name, None)
        elif isinstance(value, BaseSampler):
            forget_fits(value)


def number_of_points(sampler: GridSampler) -> int:
    """The points of a grid."""
    return len(sampler._all_grids)
