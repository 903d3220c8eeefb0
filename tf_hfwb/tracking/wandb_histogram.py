"""Histograms as W&B shows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_DIGITS = 7  # Of the range, in an edge: digits are most of what such a row takes in the run's log.


def histogram(counts: np.ndarray, edges: np.ndarray) -> Any:
    """A histogram that was counted elsewhere.

    Args:
        counts: The number of values in each bin.
        edges: The edges of the bins, one more than bins, ascending.
    """
    import wandb

    digits = _DIGITS - math.ceil(math.log10(edges[-1] - edges[0]))
    return wandb.Histogram(np_histogram=(counts.tolist(), np.round(edges, digits).tolist()))
