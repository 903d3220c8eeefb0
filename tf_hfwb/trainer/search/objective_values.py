"""The objective of a search, from the metrics of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.errors import SearchError, SettingError
from tf_hfwb.messages import first_line


class ObjectiveError(SettingError):
    """``compute_objective`` cannot be used; it is the same for all trials, so the search ends."""


def objective_values(compute: Callable[[dict[str, Any]], Any], metrics: Mapping[str, Any], number: int) -> list[float]:
    """The values of the objectives.

    Args:
        compute: The user's function, or transformers' default.
        metrics: What ``evaluate`` returned.
        number: How many values there are to be.

    Raises:
        ObjectiveError: The function fails, or returns something else.
        SearchError: A value is NaN: the trial has failed.
    """
    try:
        found = compute(dict(metrics))
    except Exception as error:
        raise ObjectiveError(
            "compute_objective",
            compute,
            expected=f"a function of these metrics: {', '.join(metrics)}",
            advice=f"It raised {type(error).__name__}: {first_line(error)}",
        ) from error
    try:
        # An array, or a tensor, may have any shape.
        found_values = np.ravel(found).tolist() if hasattr(found, "shape") else found
        values = list(found_values) if isinstance(found_values, Sequence) else [found_values]
        values = [float(value) for value in values]
    except (TypeError, ValueError):
        values = []
    if len(values) != number:
        raise ObjectiveError(
            "compute_objective",
            found,
            expected=f"a function that returns {number} number(s), one for each direction",
            advice="Pass direction as a list of as many directions, or return as many values.",
        )
    if any(map(math.isnan, values)):
        raise SearchError(f"The objective is {found}. Expected a number. The trial has failed.")
    return values


def parse_directions(direction: Any) -> tuple[str, ...]:
    """The directions, one for each objective.

    Raises:
        SettingError: One of them is unknown, or there are none.

    Example:
        >>> parse_directions("minimize"), parse_directions(["minimize", "maximize"])
        (('minimize',), ('minimize', 'maximize'))
    """
    given = [direction] if isinstance(direction, str) else direction
    accepted = ("minimize", "maximize")
    if not isinstance(given, Sequence) or not given or any(one not in accepted for one in given):
        raise SettingError(
            "direction", direction, expected="'minimize' or 'maximize', or a list of them for several objectives"
        )
    return tuple(given)
