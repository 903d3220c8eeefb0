"""Histograms over time as a grid: bins that all of them share, and one column for each."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_hfwb.reports.logged_values import Counts
from tf_hfwb.reports.page_numbers import exact, short

_TAIL = 0.001  # The share of values at each end that the outermost bins take together.


def grid(histograms: Sequence[Counts], num_columns: int, num_bins: int) -> dict[str, Any]:
    """A grid of the shares of values.

    Its range leaves out the farthest of all values, which count in the outermost bins: a single one far away would
    leave all others in one bin.

    Args:
        histograms: In the order of their steps, at least one.
        num_columns: How many of them are shown at most; they are chosen at equal distances.
        num_bins: How many bins the grid has.

    Returns:
        ``steps``, ``low`` and ``high`` of the range, ``bins``, ``most``, the largest share, and ``shares``, from 0 to
        255 for that one, a byte each in base64, column by column.
    """
    picked = np.unique(np.linspace(0, len(histograms) - 1, num_columns).round().astype(int))
    chosen = [histograms[at] for at in picked]
    low, high = _range(chosen)
    edges = np.linspace(low, high, num_bins + 1)
    shares = np.array([_shares(one, edges) for one in chosen])
    most = float(shares.max()) or 1.0
    levels = np.round(255 * shares / most).astype(np.uint8)
    return {
        "steps": [exact(one.step) for one in chosen],
        "rows": len(histograms),
        "low": short(low),
        "high": short(high),
        "bins": num_bins,
        "most": short(most),
        "shares": base64.b64encode(levels.tobytes()).decode(),
    }


def _range(histograms: Sequence[Counts]) -> tuple[float, float]:
    """Where nearly all values are, over all steps."""
    ends = []
    for one in histograms:
        below = np.concatenate([[0.0], np.cumsum(one.counts) / one.counts.sum()])
        ends.append((np.interp(_TAIL, below, one.edges), np.interp(1 - _TAIL, below, one.edges)))
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    # Values that are all the same have no range.
    space = max(abs(low), abs(high), 1e-12) * 1e-3 if high - low <= abs(high) * 1e-9 else 0.0
    return float(low - space), float(high + space)


def _shares(one: Counts, edges: np.ndarray) -> np.ndarray:
    """The share of the values in each bin; a bin's values lie evenly in it."""
    own = one.edges
    if own[-1] <= own[0]:  # All values are the same.
        middle = np.clip(np.searchsorted(edges, own[0], side="right") - 1, 0, len(edges) - 2)
        return np.eye(len(edges) - 1)[middle]
    below = np.concatenate([[0.0], np.cumsum(one.counts) / one.counts.sum()])
    at_edges = np.interp(edges, own, below)
    at_edges[0], at_edges[-1] = 0.0, 1.0
    return np.diff(at_edges)
