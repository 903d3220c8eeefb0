"""The rows of a run as one series for each name."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_hfwb.json_text import number_of
from tf_hfwb.run_records.recorded_histogram import read_histogram
from tf_hfwb.run_records.run_record import TABLES, RunRecord
from tf_hfwb.tracking.log_items import MEDIA_TYPE, ROW_STEP, flatten
from tf_hfwb.tracking.run_history import EPOCH, STEP


@dataclass
class Series:
    """The values of one name.

    Attributes:
        steps: Where they were logged.
        values: The values; NaN and infinite ones are among them.
    """

    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: float, value: float) -> None:
        """Add a value."""
        self.steps.append(step)
        self.values.append(value)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values as arrays."""
        return np.array(self.steps, dtype=np.float64), np.array(self.values, dtype=np.float64)


@dataclass(frozen=True)
class Counts:
    """A histogram of one row.

    Attributes:
        step: Where it was logged.
        counts: The number of values in each bin.
        edges: The edges of the bins, one more.
    """

    step: float
    counts: np.ndarray
    edges: np.ndarray


@dataclass
class LoggedValues:
    """What the rows of one run have.

    Attributes:
        series: Numbers by their names.
        histograms: Histograms by their names.
        num_rows: How many rows there are.
        last_step: The last step; None without rows.
        names: Those of all values.
        left_out: How many values of each kind the page has no place for. Tables are read elsewhere.
    """

    series: dict[str, Series] = field(default_factory=dict)
    histograms: dict[str, list[Counts]] = field(default_factory=dict)
    num_rows: int = 0
    last_step: float | None = None
    names: set[str] = field(default_factory=set)
    left_out: collections.Counter[str] = field(default_factory=collections.Counter)


def read_values(run: RunRecord) -> LoggedValues:
    """Read all rows of a run.

    A row without a global step stands at that of the rows before it: those of a user's own are logged between them.
    Where the run has none, the axis is W&B's own step.
    """
    found = LoggedValues()
    step: float = 0
    has_steps = False
    for number, row in enumerate(run.rows()):
        given = number_of(row.get(STEP))
        if given is not None and np.isfinite(given):
            step, has_steps = given, True
        elif not has_steps:
            own = number_of(row.get(ROW_STEP))
            step = number if own is None else own
        found.num_rows += 1
        for name, value in flatten(row).items():
            if name.startswith("_"):
                continue
            found.names.add(name)
            if name not in (STEP, EPOCH) and value is not None and not _add(found, name, step, value):
                found.left_out[kind_of(value)] += 1
    if found.num_rows:
        found.last_step = step
    return found


def kind_of(value: Any) -> str:
    """What a value without a place in the page is, in a word.

    Example:
        >>> kind_of("a text"), kind_of({"_type": "image-file"})
        ('text', 'image')
    """
    if isinstance(value, Mapping) and MEDIA_TYPE in value:
        return str(value[MEDIA_TYPE]).removesuffix("-file")
    return "text" if isinstance(value, str) else type(value).__name__


def _add(found: LoggedValues, name: str, step: float, value: Any) -> bool:
    """Add a value; False if it has no place."""
    number = float(value) if isinstance(value, bool) else number_of(value)
    if number is not None:
        found.series.setdefault(name, Series()).add(step, float(number))
        return True
    kind = value.get(MEDIA_TYPE) if isinstance(value, Mapping) else None
    counts = _counts(step, value) if kind == "histogram" else None
    if counts is not None:
        found.histograms.setdefault(name, []).append(counts)
    return counts is not None or kind in TABLES


def _counts(step: float, value: Mapping[str, Any]) -> Counts | None:
    """The histogram; None if it cannot be drawn, as with edges that are not finite."""
    histogram = read_histogram(value)
    if histogram is None:
        return None
    counts, edges = histogram
    is_finite = bool(np.all(np.isfinite(edges)) and np.all(np.isfinite(counts)))
    return Counts(step, counts, edges) if is_finite and counts.sum() > 0 and edges[-1] >= edges[0] else None
