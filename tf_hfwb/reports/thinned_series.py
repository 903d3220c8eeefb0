"""A long series with fewer points: no peak is lost, and no gap."""

from __future__ import annotations

import numpy as np


def thin(x: np.ndarray, y: np.ndarray, most: int) -> np.ndarray:
    """Which points of a series to keep, so that its line looks the same.

    The axis is cut into equal buckets, each about as wide as a pixel. Of each the lowest and the highest value stay,
    where they are, and one NaN if it has any: a line breaks there. The first and the last point stay, too.

    Args:
        x: Where the points are.
        y: Their values. Those that are NaN or infinite are gaps.
        most: How many points may stay, 8 or more; gaps come on top.

    Returns:
        The indices, ascending.

    Example:
        >>> x = np.arange(1000)
        >>> y = np.zeros(1000)
        >>> y[501], y[777] = 9.0, np.nan
        >>> kept = thin(x, y, 20)
        >>> len(kept), 501 in kept, 777 in kept
        (19, True, True)
    """
    size = len(x)
    if size <= most:
        return np.arange(size)
    buckets = _buckets(np.asarray(x, dtype=np.float64), max(1, most // 2 - 1))
    finite = np.isfinite(y)
    at = np.flatnonzero(finite)
    gaps = np.flatnonzero(~finite)
    kept = [np.array([0, size - 1])]
    if len(at):
        ordered = at[np.lexsort((y[at], buckets[at]))]
        begins = np.flatnonzero(np.diff(buckets[ordered], prepend=-1))
        ends = np.append(begins[1:], len(ordered)) - 1
        kept += [ordered[begins], ordered[ends]]
    kept.append(gaps[np.unique(buckets[gaps], return_index=True)[1]])
    return np.unique(np.concatenate(kept))


def _buckets(x: np.ndarray, number: int) -> np.ndarray:
    """The bucket of each point; by position where the axis runs back, as after a second training."""
    if np.any(np.diff(x) < 0) or x[-1] <= x[0]:
        x = np.arange(len(x), dtype=np.float64)
    share = (x - x[0]) / (x[-1] - x[0])
    return np.minimum((share * number).astype(np.int64), number - 1)
