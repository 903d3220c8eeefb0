"""Values as trackio stores them: dicts with a ``_type``, beside numbers and texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tf_hfwb.dashboards.log_entries import Histogram, Picture, TableRows
from tf_hfwb.dashboards.plain_values import plain_value

# What it uses itself; it gives such names an underscore or two.
_RESERVED = ("project", "run", "timestamp", "step", "time", "metrics")
_DIGITS = 7

SavePicture = Callable[[Picture], dict[str, Any]]


def row_values(values: Mapping[str, Any], save_picture: SavePicture) -> dict[str, Any]:
    """The values of a row."""
    return {
        f"__{name}" if name in _RESERVED or name.startswith("__") else name: _value(value, save_picture)
        for name, value in values.items()
    }


def table_value(table: TableRows, save_picture: SavePicture) -> dict[str, Any]:
    """Rows of a table."""
    rows = [
        {str(name): _cell(cell, save_picture) for name, cell in zip(table.columns, row, strict=False)}
        for row in table.rows
    ]
    return {"_type": "trackio.table", "_value": rows}


def config_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, in which no name begins with an underscore: those are trackio's own."""
    return {str(name).lstrip("_") or "_": plain_value(value) for name, value in config.items()}


def _value(value: Any, save_picture: SavePicture) -> Any:
    if isinstance(value, Histogram):
        edges = np.asarray(value.edges, np.float64)
        digits = _DIGITS - int(np.ceil(np.log10(edges[-1] - edges[0]))) if edges[-1] > edges[0] else _DIGITS
        return {
            "_type": "trackio.histogram",
            "bins": np.round(edges, digits).tolist(),
            "values": np.asarray(value.counts).tolist(),
        }
    if isinstance(value, Picture):
        return save_picture(value)
    if isinstance(value, str):
        return {"_type": "trackio.markdown", "_value": value}
    return value


def _cell(value: Any, save_picture: SavePicture) -> Any:
    if isinstance(value, Picture):
        return save_picture(value)
    return plain_value(value)
