"""Tables as Markdown, for dashboards that show text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_hfwb.dashboards.log_entries import Picture

MAX_ROWS = 500  # In one table: a browser draws no more of them at once.
_MAX_CELL = 2000  # Characters of a cell.


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, in which markup in cells is text.

    Rows beyond :data:`MAX_ROWS` are left out, which the last line says.

    Example:
        >>> print(markdown_table(["text", "label"], [["a|b", 1], ["<b>", None]]))
        | text | label |
        |---|---|
        | a&#124;b | 1 |
        | &lt;b&gt; |  |
    """
    lines = [_line(columns), "|" + "---|" * len(columns), *map(_line, rows[:MAX_ROWS])]
    if len(rows) > MAX_ROWS:
        lines.append(f"\n{MAX_ROWS} of {len(rows)} rows.")
    return "\n".join(lines)


def plain_text(text: str) -> str:
    """A text in which Markdown and HTML find no markup."""
    for character in "&<>|`*_[]\\#":
        text = text.replace(character, _ESCAPED.get(character, f"&#{ord(character)};"))
    return text


_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "#": "#"}


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, Picture):
        value = f"picture of {value.width} x {value.height}"
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    if len(text) > _MAX_CELL:
        text = f"{text[:_MAX_CELL]}…"
    return "<br>".join(plain_text(text).splitlines())
