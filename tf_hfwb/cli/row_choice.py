"""Which rows of a table are wanted, and in which order: conditions and columns as a user writes them.

A condition is parsed, never run.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from tf_hfwb.errors import SettingError

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_OPERATORS = ("==", "!=", "!~", *_ORDERINGS, "~", "=")  # Longer ones in front of those that they begin with.
_NOTHING = ("none", "null", "")
_TRUTH = {"true": True, "false": False}

Row = Sequence[Any]
Condition = Callable[[Row], bool]


def parse_condition(text: str, columns: Sequence[str], rows: Sequence[Row]) -> Condition:
    """A condition on rows.

    Args:
        text: ``COLUMN OPERATOR VALUE``: ``loss > 1``, ``correct == False``, ``text ~ word`` (contains, whatever the
            case), ``label != none``. The value may be in quotes.
        columns: The table's columns.
        rows: Its rows.

    Returns:
        A function of a row.

    Raises:
        SettingError: It is no condition, its column is none of the table's, or its value cannot be compared.

    Example:
        >>> rows = [["a", 0.5], ["b", 2]]
        >>> [*filter(parse_condition("loss > 1", ["name", "loss"], rows), rows)]
        [['b', 2]]
    """
    column, sign, value = _split(text, columns)
    place = columns.index(column)
    if sign in ("~", "!~"):
        wanted = value.casefold()
        return lambda row: (wanted in cell_text(row[place]).casefold()) == (sign == "~")
    if sign in _ORDERINGS:
        compare = _ORDERINGS[sign]
        number = _number(value)
        if number is None and any(_is_number(row[place]) for row in rows):
            raise SettingError("--where", text, expected=f"a number after {sign}, as {column} has numbers")

        def is_ordered(row: Row) -> bool:
            cell = row[place]
            if _is_number(cell):
                return compare(cell, number)
            return isinstance(cell, str) and compare(cell, value)

        return is_ordered
    return lambda row: _equals(row[place], value) == (sign != "!=")


def sort_rows(rows: Sequence[Row], columns: Sequence[str], wanted: Sequence[str]) -> list[Row]:
    """Rows in the order of columns, the first of which counts most; cells without a value come last.

    Args:
        rows: The rows.
        columns: The table's columns.
        wanted: Names of columns, each with a ``-`` in front for the largest values first.

    Raises:
        SettingError: A column is none of the table's.
    """
    ordered = [*rows]
    for name in reversed(wanted):
        is_descending = name.startswith("-") and name not in columns
        place = place_of(name[is_descending:], columns, "--sort")
        full = [row for row in ordered if not _is_empty(row[place])]
        full.sort(key=lambda row: _sort_key(row[place]), reverse=is_descending)
        ordered = [*full, *(row for row in ordered if _is_empty(row[place]))]
    return ordered


def place_of(name: str, columns: Sequence[str], option: str) -> int:
    """The place of a column.

    Raises:
        SettingError: There is no such column.
    """
    if name not in columns:
        raise SettingError(option, name, accepted=columns, advice="Name one of the table's columns.")
    return columns.index(name)


def cell_text(cell: Any) -> str:
    """A cell as text."""
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)


def _split(text: str, columns: Sequence[str]) -> tuple[str, str, str]:
    """Column, operator and value. Of several columns that the text begins with, the longest is meant."""
    stripped = text.strip()
    for column in sorted(columns, key=len, reverse=True):
        rest = stripped.removeprefix(column).lstrip()
        if stripped.startswith(column) and rest.startswith(_OPERATORS):
            sign = next(sign for sign in _OPERATORS if rest.startswith(sign))
            value = rest.removeprefix(sign).strip()
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            return column, sign, value[1:-1] if is_quoted else value
    raise SettingError(
        "--where",
        text,
        expected="COLUMN OPERATOR VALUE, such as 'loss > 1', with an operator of == != < <= > >= ~ !~ and a column of "
        + ", ".join(map(repr, columns)),
        advice="Put the whole condition in quotes, as the shell takes < and > for itself.",
    )


def _equals(cell: Any, value: str) -> bool:
    if cell is None:
        return value.lower() in _NOTHING
    if isinstance(cell, bool):
        return _TRUTH.get(value.lower()) is cell or value == str(int(cell))
    if _is_number(cell):
        number = _number(value)
        return number is not None and (cell == number or (_is_nan(cell) and _is_nan(number)))
    return cell_text(cell) == value


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _number(value: str) -> float | None:
    for kind in (int, float):  # An integer keeps all its digits.
        try:
            return kind(value)
        except ValueError:
            continue
    return None


def _is_empty(cell: Any) -> bool:
    return cell is None or _is_nan(cell)


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _sort_key(cell: Any) -> tuple[bool, Any]:
    """Numbers, and truth values as such, in front of texts."""
    return (False, cell) if isinstance(cell, (int, float)) else (True, cell_text(cell))
