"""What a training logs, as plain values: the writers of all dashboards take these, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Histogram:
    """How many values lie between which edges.

    Attributes:
        counts: The number of values in each bin.
        edges: The edges of the bins, one more than bins, ascending.
    """

    counts: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True)
class Picture:
    """An image file.

    Attributes:
        data: The file's content.
        format: ``"png"``, ``"jpeg"`` or ``"gif"``.
        width: In pixels.
        height: In pixels.
        caption: What stands below it; empty for nothing.
    """

    data: bytes
    format: str
    width: int
    height: int
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """Numbers, histograms, pictures and texts of one step.

    Attributes:
        step: The global step.
        time: Seconds since the epoch.
        values: By their names: ``float``, ``int``, ``str``, :class:`Histogram` or :class:`Picture`.
    """

    step: int
    time: float
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TableRows:
    """Rows of a table, which are added at one step.

    Attributes:
        key: The table's name.
        step: The global step.
        time: Seconds since the epoch.
        columns: The names of the columns.
        rows: The cells: numbers, texts, None, or anything else, which is shown as text.
    """

    key: str
    step: int
    time: float
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Configuration:
    """What a training was configured with, as plain values without secrets; a later one adds to those before."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Totals:
    """Values of a whole training; the last of a name counts.

    Attributes:
        time: Seconds since the epoch.
        values: By their names.
    """

    time: float
    values: Mapping[str, Any]


@dataclass(frozen=True)
class MachineUse:
    """How much of the machine was in use.

    Attributes:
        time: Seconds since the epoch.
        seconds: Seconds since the training began.
        values: By their names.
    """

    time: float
    seconds: float
    values: Mapping[str, float]


Entry = Row | TableRows | Configuration | Totals | MachineUse
