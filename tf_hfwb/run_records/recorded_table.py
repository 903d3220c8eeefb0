"""A table that a run has logged, read from its files."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb.errors import SettingError

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class RecordedTable:
    """A table.

    Attributes:
        columns: The names of its columns. Of several with one name the second is ``name (2)``, and so on.
        rows: Its rows; a cell is a plain value, or for media a dict with ``_type`` and ``path``.
    """

    columns: tuple[str, ...]
    rows: list[list[Any]]


def read_table(
    key: str, values: Sequence[Mapping[str, Any]], find_file: Callable[[Mapping[str, Any]], str | None]
) -> RecordedTable:
    """Read a table's files and join them. A part that is not here or damaged is reported and left out.

    Args:
        key: The table's name.
        values: What the history says of its parts, oldest first.
        find_file: The file of a part.

    Raises:
        SettingError: No part can be read.
    """
    columns: dict[str, None] = {}
    parts, missing = [], []
    for value in values:
        part = _read_part(find_file(value))
        if part is None:
            missing.append(str(value.get("path")))
            continue
        columns |= dict.fromkeys(part.columns)
        parts.append(part)
    if not parts:
        raise SettingError(
            "table",
            key,
            expected="a table whose file is here and whole",
            advice=f"Missing or damaged: {missing[-1]}. Copy the run's whole folder, or name the run on W&B.",
        )
    if missing:
        _logger.warning(
            "The table %r lacks the rows of %d of %d files, which are missing or damaged: %s.",
            key,
            len(missing),
            len(values),
            ", ".join(missing[:3]),
        )
    names = tuple(columns)
    return RecordedTable(names, [row for part in parts for row in _in_order(part, names)])


def _read_part(path: str | None) -> RecordedTable | None:
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        columns, rows = _unique([str(name) for name in content["columns"]]), content["data"]
        return RecordedTable(tuple(columns), [[*row] for row in rows if len(row) == len(columns)])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        others = (one for one in numbered if one not in names and one not in found)
        found.append(next(others) if name in found else name)
    return found


def _in_order(part: RecordedTable, names: tuple[str, ...]) -> list[list[Any]]:
    """The rows of a part with the columns of the whole table."""
    if part.columns == names:
        return part.rows
    return [[dict(zip(part.columns, row, strict=True)).get(name) for name in names] for row in part.rows]
