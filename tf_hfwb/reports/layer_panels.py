"""The gradients and weights of each layer: how they are distributed, and their norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_hfwb.reports.histogram_grids import grid
from tf_hfwb.reports.logged_values import LoggedValues
from tf_hfwb.reports.metric_charts import is_of_layer, points
from tf_hfwb.reports.page_numbers import fair_shares

_CELLS = 1_000_000  # Of all grids, a byte each.
_SIZES = ((60, 48), (48, 40), (36, 32), (24, 28), (16, 24))  # Columns and bins, the finest first.
_POINTS = 60_000  # Of all norms.
_LEAST = 12

_KINDS = {"gradients": "gradients", "parameters": "weights"}


def layer_panels(runs: Sequence[LoggedValues]) -> dict[str, Any]:
    """Histograms and norms, by the names of the layers' variables.

    Returns:
        ``names``, those of all variables; ``grids`` and ``norms``, each with its run, its kind and the number of its
        name; ``left_out``, how many histograms there is no room for.
    """
    names: dict[str, int] = {}
    found = [(run, name, values.histograms[name]) for run, values in enumerate(runs) for name in values.histograms]
    columns, bins = next((size for size in _SIZES if size[0] * size[1] * len(found) <= _CELLS), _SIZES[-1])
    room = _CELLS // (columns * bins)
    grids = []
    for run, name, histograms in found[:room]:
        kind, variable = _parse(name)
        at = names.setdefault(variable, len(names))
        grids.append({"run": run, "kind": kind, "name": at, **grid(histograms, columns, bins)})
    norms = _norms(runs, names)
    return {"names": list(names), "grids": grids, "norms": norms, "left_out": max(0, len(found) - room)}


def _norms(runs: Sequence[LoggedValues], names: dict[str, int]) -> list[dict[str, Any]]:
    found = [
        (run, name, values.series[name])
        for run, values in enumerate(runs)
        for name in values.series
        if is_of_layer(name) and name.partition("/")[0].endswith("_norm")
    ]
    most = fair_shares([len(series.steps) for _, _, series in found], _POINTS, least=_LEAST)
    norms = []
    for run, name, series in found[: _POINTS // _LEAST]:
        kind, variable = _parse(name)
        at = names.setdefault(variable, len(names))
        norms.append({"run": run, "kind": kind, "name": at, **points(series, min(most, 400))})
    return norms


def _parse(name: str) -> tuple[str, str]:
    """The kind of the values and the variable they belong to; a user's own histogram is both."""
    before, slash, variable = name.partition("/")
    kind = _KINDS.get(before.removesuffix("_norm"))
    return (kind, variable) if slash and kind else ("values", name)
