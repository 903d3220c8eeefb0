"""The gradients and weights of each layer: how they are distributed, and their norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_hfwb.reports.histogram_grids import grid
from tf_hfwb.reports.layer_names import by_layer
from tf_hfwb.reports.logged_values import LoggedValues
from tf_hfwb.reports.metric_charts import points
from tf_hfwb.reports.page_numbers import fair_shares

_CELLS = 1_000_000  # Of all grids, a byte each.
_SIZES = ((60, 48), (48, 40), (36, 32), (24, 28), (16, 24))  # Columns and bins, the finest first.
_POINTS = 60_000  # Of all norms.
_LEAST = 12
_MOST = 400  # Of one norm.


def layer_panels(runs: Sequence[LoggedValues]) -> dict[str, Any]:
    """Histograms and norms, by the names of the layers' variables.

    Returns:
        ``names``, those of all variables; ``grids`` and ``norms``, each with its run, its kind and the number of its
        name; ``left_out``, how many histograms there is no room for.
    """
    layers = [by_layer(values) for values in runs]
    names: dict[str, int] = {}
    found = [(run, layer, some) for run, (histograms, _) in enumerate(layers) for layer, some in histograms.items()]
    columns, bins = next((size for size in _SIZES if size[0] * size[1] * len(found) <= _CELLS), _SIZES[-1])
    room = _CELLS // (columns * bins)
    grids = [
        {"run": run, "kind": kind, "name": names.setdefault(variable, len(names)), **grid(some, columns, bins)}
        for run, (kind, variable), some in found[:room]
    ]
    series = [(run, layer, one) for run, (_, norms) in enumerate(layers) for layer, one in norms.items()]
    most = min(_MOST, fair_shares([len(one.steps) for _, _, one in series], _POINTS, least=_LEAST))
    norms = [
        {"run": run, "kind": kind, "name": names.setdefault(variable, len(names)), **points(one, most)}
        for run, (kind, variable), one in series[: _POINTS // _LEAST]
    ]
    return {"names": list(names), "grids": grids, "norms": norms, "left_out": max(0, len(found) - room)}
