"""Histograms in the rows of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def read_histogram(value: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """The counts of a histogram and the edges of its bins, one more; None if the value is none.

    Example:
        >>> read_histogram({"_type": "histogram", "values": [1, 2], "packedBins": {"min": 0, "size": 0.5, "count": 2}})
        (array([1., 2.]), array([0. , 0.5, 1. ]))
    """
    packed = value.get("packedBins")
    try:
        counts = np.asarray(value["values"], np.float64)
        if packed:
            edges = float(packed["min"]) + float(packed["size"]) * np.arange(packed["count"] + 1)
        else:
            edges = np.asarray(value["bins"], np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    return (counts, edges) if counts.ndim == edges.ndim == 1 and len(edges) == len(counts) + 1 > 1 else None
