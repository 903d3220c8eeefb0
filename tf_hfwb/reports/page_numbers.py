"""Numbers as the page has them: of a fraction six digits, more than a plot shows, in half the bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

LARGEST_EXACT = 2**53 - 1  # A browser rounds larger integers.


def short(value: float) -> float | int | None:
    """A fraction with six digits, an integer whole; None where it is NaN or infinite, which JSON does not have.

    Example:
        >>> short(0.123456789), short(1234567.0), short(float("nan"))
        (0.123457, 1234567, None)
    """
    if not math.isfinite(value):
        return None
    if abs(value) <= LARGEST_EXACT and float(value).is_integer():
        return int(value)
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) <= LARGEST_EXACT else rounded


def exact(value: float) -> float | int:
    """A step or the like, of which every digit counts.

    Example:
        >>> exact(1234567.0), exact(0.5)
        (1234567, 0.5)
    """
    return int(value) if float(value).is_integer() else float(value)


def number_cell(value: float, text: str) -> Any:
    """A number as a cell of the page has it: one that a browser would change is given by its digits.

    Args:
        value: The number.
        text: It in words, for one that is NaN or infinite.

    Example:
        >>> number_cell(0.123456789, ""), number_cell(2**60, str(2**60)), number_cell(float("nan"), "NaN")
        (0.123457, {'n': '1152921504606846976'}, 'NaN')
    """
    if isinstance(value, int) and abs(value) > LARGEST_EXACT:
        return {"n": str(value)}
    if abs(value) > LARGEST_EXACT and float(value).is_integer():
        return value
    rounded = short(value)
    return text if rounded is None else rounded


def shorts(values: Iterable[float]) -> list[float | int | None]:
    """:func:`short` of each."""
    return [short(float(value)) for value in values]


def fair_shares(lengths: Iterable[int], budget: int, *, least: int) -> int:
    """How many points a series may have, so that all together stay within a budget; short ones leave theirs to others.

    Args:
        lengths: The points of each series.
        budget: The points of all.
        least: The points that a series has in any case.

    Example:
        >>> fair_shares([10, 10, 1000, 1000], 500, least=16)
        240
    """
    left, waiting = budget, sorted(lengths)
    for done, length in enumerate(waiting):
        share = left // (len(waiting) - done)
        if length > share:
            return max(share, least)
        left -= length
    return max(budget, least)
