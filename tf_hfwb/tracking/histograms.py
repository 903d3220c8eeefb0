"""Histograms as W&B shows them."""

from __future__ import annotations

from typing import Any

import numpy as np


def histogram(counts: np.ndarray, edges: np.ndarray) -> Any:
    """A histogram that was counted elsewhere.

    Args:
        counts: The number of values in each bin.
        edges: The edges of the bins, one more than bins.
    """
    import wandb

    return wandb.Histogram(np_histogram=(counts.tolist(), edges.tolist()))
