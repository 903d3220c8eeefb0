"""Histograms as W&B shows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tf_hfwb.dashboards.log_entries import Histogram

_DIGITS = 7  # Of the range, in an edge: digits are most of what such a row takes in the run's log.


def wandb_histogram(histogram: Histogram) -> Any:
    """A histogram that was counted elsewhere, as the client takes it."""
    import wandb

    counts, edges = histogram.counts, histogram.edges
    digits = _DIGITS - math.ceil(math.log10(edges[-1] - edges[0]))
    return wandb.Histogram(np_histogram=(counts.tolist(), np.round(edges, digits).tolist()))
